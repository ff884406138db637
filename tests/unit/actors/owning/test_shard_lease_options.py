"""ShardLeases, and which stores can keep them."""

import pytest
from fencing_memory import FencingMemory

from domains import bank_account
from eskernel import Kernel, ShardLeases
from eskernel_stores import MemoryStore


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *[("shards", value) for value in (0, -1, 1.5, True, "8", None)],
        *[("seconds", value) for value in (0, -1.0, float("inf"), float("nan"), "5", None)],
        *[("name", value) for value in ("", "x" * 201, "a\0b", "\ud800", 5, None)],
        *[("owner", value) for value in ("", "x" * 256, "a\0b", 5)],
        *[("predecessor", value) for value in ("", "x" * 256, 5)],
    ],
)
def test_what_makes_no_sense_is_refused(option, value):
    with pytest.raises(ValueError, match=option):
        ShardLeases(**{option: value})


def test_nobody_is_his_own_predecessor():
    with pytest.raises(ValueError, match="'me' cannot succeed itself"):
        ShardLeases(owner="me", predecessor="me")


def test_every_shard_has_a_lease_of_its_own_and_every_division_its_own_shards():
    names = {
        ShardLeases(shards=shards, name=name).lease_name(number)
        for name in ("a", "b")
        for shards in (1, 2, 3)
        for number in range(shards)
    }
    assert len(names) == 2 * (1 + 2 + 3)
    assert max(map(len, (ShardLeases(name="x" * 200).lease_name(63),))) <= 255


class Unfenced(FencingMemory):
    acquire_leases = None


def test_a_store_that_cannot_fence_is_refused_with_its_reason(file_url, open_url):
    immediate = FencingMemory()
    immediate.immediate = True
    for store, reason in (
        (MemoryStore(), "this MemoryStore: it is in one process only"),
        (open_url(file_url), "this FileStore: it can be open in one process only"),
        (immediate, "this FencingMemory: it"),
        (Unfenced(), "this Unfenced: it"),
    ):
        with pytest.raises(ValueError, match=f"cannot be kept in {reason}.*SqlStore or a Mongo"):
            Kernel({"bank_account": bank_account}, store, shard_leases=ShardLeases())


def test_a_store_may_leave_out_its_reason():
    class Plain:
        append = fold = fold_all = last_position = close = lambda: None

    with pytest.raises(ValueError, match="it checks no lease in the write that stores events"):
        Kernel({}, Plain(), shard_leases=ShardLeases())


def test_what_are_no_shard_leases_is_refused():
    with pytest.raises(TypeError, match="shard_leases must be ShardLeases"):
        Kernel({}, FencingMemory(), shard_leases=5)
