"""Checkpoints in JetStream: large ones, races, limits, and what other programs do."""

from contextlib import closing
from functools import partial

import pytest
from jetstream_buckets import (
    NAME,
    chunks_of,
    key_values,
    large,
    made,
    publish,
    subjects_of,
)
from support import run_threads

from eskernel.errors import CorruptStore, NotStorable
from eskernel_stores.jetstream import JetStreamStore
from eskernel_stores.jetstream.buckets.records import pack, packed, unpacked

MB = 1 << 20


@pytest.fixture
def store(nats_url):
    with closing(JetStreamStore(nats_url)) as store:
        yield store


@pytest.fixture
def other(nats_url, store):
    """Another store of the same checkpoints, as another process would have."""
    with closing(JetStreamStore(nats_url)) as other:
        yield other


def records(url):
    """Return the keys in the bucket that are neither of chunks nor of readers."""
    return {key for key in subjects_of(url, "checkpoints") if ".chunk." not in key} - {"read"}


def test_stores_that_replace_a_large_checkpoint_leave_no_chunks_behind(nats_url, store, other):
    def save(one, first):
        for position in range(first, 40, 4):
            new = large(position) if position % 3 else made(position)
            one.save_checkpoints(NAME, 1, {"serving": new})

    run_threads(*(partial(save, (store, other)[first % 2], first) for first in range(4)))
    store.save_checkpoints(NAME, 1, {"serving": large(99)})
    assert other.load_checkpoint(NAME) == large(99, 1)
    assert len(chunks_of(nats_url, "checkpoints")) == 1
    store.save_checkpoints(NAME, 1, {"serving": made(1)})
    assert chunks_of(nats_url, "checkpoints") == set()


@pytest.mark.parametrize("size", [1, 5, 30])
def test_one_may_be_larger_than_a_message(store, other, size):
    store.save_checkpoints(NAME, 1, {"serving": large(5, size=size * MB), "small": made(2)})
    assert other.load_checkpoint(NAME) == large(5, 1, size * MB)
    assert other.load_checkpoint(NAME, "small") == made(2, 1)


def test_what_an_emptied_slot_leaves_is_a_mark_without_chunks(nats_url, store):
    store.save_checkpoints(NAME, 1, {"serving": large(1), "never": None})
    store.save_checkpoints(NAME, 1, {"serving": None})
    assert store.load_checkpoint(NAME) is None
    assert subjects_of(nats_url, "checkpoints") == {
        "balances.lease": 1,
        "balances.slot.serving": 1,
        "balances.slot.never": 1,
        "read": 1,
    }
    keys = key_values(nats_url, "checkpoints", lambda bucket: bucket.keys())
    assert keys == ["balances.lease"]
    store.save_checkpoints(NAME, 1, {"serving": made(3)})
    assert store.load_checkpoint(NAME) == made(3, 1)


def test_as_many_slots_as_a_batch_has_messages_are_saved_and_more_refused(nats_url, store):
    slots = {f"slot {number}": made(number) for number in range(999)}
    store.save_checkpoints(NAME, 1, slots)
    assert store.load_checkpoint(NAME, "slot 998") == made(998, 1)
    with pytest.raises(NotStorable, match="1000 messages"):
        store.save_checkpoints(NAME, 2, {**slots, "serving": made(1)})
    assert store.load_checkpoint(NAME) is None
    assert len(records(nats_url)) == 1000
    store.save_checkpoints(NAME, 1, {"serving": made(2)})


def test_a_checkpoint_that_no_batch_can_hold_is_refused(nats_url, store):
    store._service.connection._wires.max_payload = 2048
    store.save_checkpoints(NAME, 1, {"serving": made(1)})
    with pytest.raises(NotStorable, match=f"takes {1000 * (2048 - 512)} bytes"):
        store.save_checkpoints(NAME, 1, {"a": made(2), "serving": large(2, size=2 * MB)})
    assert store.load_checkpoint(NAME) == made(1, 1)
    assert records(nats_url) == {"balances.lease", "balances.slot.serving"}


def test_a_damaged_checkpoint_is_not_read_and_may_be_replaced(nats_url, store):
    store.save_checkpoints(NAME, 1, {"serving": large(1), "other": made(1)})
    value = key_values(nats_url, "checkpoints", lambda kv: kv.get("balances.slot.other")).value
    record = unpacked(value, "")
    part = record.parts[0]
    for damaged in (
        b"\xc1",
        packed(record._replace(parts=(part._replace(value=b"\xc1"),))),
        packed(record._replace(parts=(part._replace(value=pack([1])),))),
    ):
        publish(nats_url, "checkpoints", "balances.slot.serving", damaged)
        with pytest.raises(CorruptStore, match="serving"):
            store.load_checkpoint(NAME)
    assert store.load_checkpoint(NAME, "other") == made(1, 1)
    store.save_checkpoints(NAME, 1, {"serving": made(3)})
    assert store.load_checkpoint(NAME) == made(3, 1)
    assert chunks_of(nats_url, "checkpoints") == set()


def test_a_slot_that_another_program_deletes_is_empty(nats_url, store):
    store.save_checkpoints(NAME, 1, {"serving": large(1)})
    key_values(nats_url, "checkpoints", lambda kv: kv.delete("balances.slot.serving"))
    assert store.load_checkpoint(NAME) is None
    store.save_checkpoints(NAME, 1, {"serving": large(2)})
    assert store.load_checkpoint(NAME) == large(2, 1)
    assert len(chunks_of(nats_url, "checkpoints")) == 1


def test_a_renewal_forgets_no_chunks(nats_url, store):
    store.save_checkpoints(NAME, 1, {"serving": large(1)})
    assert store.acquire_lease(NAME, "first", 5).epoch == 2
    store.release_lease(NAME, "first")
    store.save_checkpoints(NAME, 2, {"other": large(1)})
    store.save_checkpoints(NAME, 2, {"serving": made(2)})
    assert len(chunks_of(nats_url, "checkpoints")) == 1
