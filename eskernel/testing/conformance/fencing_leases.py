"""Leases of many names, taken and given back at once."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Final, Protocol

from eskernel.contracts import CheckpointStore, EventStore, FencingEventStore
from eskernel.errors import StaleEpoch, StoreUnavailable
from eskernel.testing.conformance.batches import commit_of, positions_of
from eskernel.testing.conformance.checkpoints import made
from eskernel.testing.conformance.fencing import ANOTHER, SHARD, Store, append, taken
from eskernel.testing.conformance.leases import LONG, require_lease
from eskernel.testing.conformance.samples import IDENTIFIERS
from eskernel.testing.conformance.tools import STREAM, require, require_equal, require_raises
from eskernel.values import SERVING

NAMES: Final = tuple(f"shard/{number}" for number in range(256))


class Keeper(EventStore, FencingEventStore, CheckpointStore, Protocol):
    """What the check of a store that keeps checkpoints too needs."""


def require_leases(
    store: FencingEventStore, names: Sequence[str], asker: str, owners: Sequence[str]
) -> list[int]:
    """Raise AssertionError unless leases come to be these owners'; return their epochs."""
    leases = store.acquire_leases(names, asker, LONG)
    require_equal([lease.owner for lease in leases], [*owners], "the owners, in order")
    for lease, owner in zip(leases, owners, strict=True):
        require_lease(lease, owner, lease.epoch)
        require(lease.epoch >= 1, f"the epoch is {lease.epoch}")
        require(lease.seconds > LONG / 2, f"a lease is valid for {lease.seconds} seconds")
    return [lease.epoch for lease in leases]


def many_leases_are_taken_at_once(store: Store) -> None:
    """Of each name, in order; of none, none. Whoever has them keeps their epochs."""
    require_equal(list(store.acquire_leases([], "first", LONG)), [], "leases of no names")
    epochs = require_leases(store, NAMES, "first", ["first"] * len(NAMES))
    for asker in ("first", "second", "first"):
        again = require_leases(store, NAMES, asker, ["first"] * len(NAMES))
        require_equal(again, epochs, f"the epochs after {asker} has asked again")


def whoever_comes_second_gets_what_is_left(store: Store) -> None:
    """New names, those that ran out and those given back; and learns who has the others."""
    taken(store, "second", 0, "epoch 2")
    first = ["ran out", "kept", "given back", "epoch 2"]
    before = dict(zip(first, require_leases(store, first, "first", ["first"] * 4), strict=True))
    store.acquire_leases(["ran out"], "first", 0)
    store.release_leases(["given back"], "first")
    names = ["new", "epoch 2", "ran out", "another", "kept", "given back"]
    owners = ["second", "first", "second", "second", "first", "second"]
    epochs = dict(zip(names, require_leases(store, names, "second", owners), strict=True))
    for name in ("ran out", "given back"):
        require(epochs[name] > before[name], f"{name}: epoch {epochs[name]} after {before[name]}")
    for name in ("kept", "epoch 2"):
        require_equal(epochs[name], before[name], f"epoch of the lease that was {name}")
    again = require_leases(store, names, "third", owners)
    require_equal(again, [*epochs.values()], "the epochs when a third has asked")


def leases_given_back_together_are_free(store: Store) -> None:
    """Those of others, and of nobody, stay as they are."""
    store.release_leases([], "first")
    require_leases(store, NAMES[:40], "first", ["first"] * 40)
    require_leases(store, NAMES[40:60], "second", ["second"] * 20)
    store.release_leases(NAMES[20:80], "first")
    owners = ["first"] * 20 + ["third"] * 20 + ["second"] * 20 + ["third"] * 20
    require_leases(store, NAMES[:80], "third", owners)


def leases_of_any_names_are_taken_at_once(store: Store) -> None:
    """In the order asked for, whatever it is by a database's rules."""
    for names in (IDENTIFIERS, IDENTIFIERS[::-1]):
        require_leases(store, names, "first", ["first"] * len(names))
    second = IDENTIFIERS[1::2]
    store.release_leases(second, "first")
    owners = ["first", "second"] * len(second)
    require_leases(store, IDENTIFIERS, "second", owners[: len(IDENTIFIERS)])


def leases_for_a_time_that_is_none_are_refused(store: Store) -> None:
    """ValueError for negative seconds and for NaN; the leases stay as they were."""
    epoch = taken(store, "first", LONG).epoch
    for seconds in (-1, float("nan"), float("-inf")):
        for owner in ("first", "second"):
            call = partial(store.acquire_leases, [SHARD, ANOTHER], owner, seconds)
            require_raises(ValueError, call)
    kept, free = store.acquire_leases([SHARD, ANOTHER], "second", LONG)
    require_lease(kept, "first", epoch)
    require_equal(free.owner, "second", "the owner of a lease that nobody took")


def a_closed_store_gives_no_leases(store: Store) -> None:
    """StoreUnavailable, if anything; a store in memory may go on."""
    fence = taken(store, "first", LONG)
    store.close()
    with suppress(StoreUnavailable):
        append(store, fence, commit_of(STREAM, 0, "late"))
    with suppress(StoreUnavailable):
        store.acquire_leases([SHARD], "first", LONG)
    with suppress(StoreUnavailable):
        store.release_leases([SHARD], "first")


def leases_are_the_same_whether_taken_alone_or_together(store: Keeper) -> None:
    """Also for checkpoints: who is fenced off from the one is from the other."""
    first = store.acquire_lease(SHARD, "first", LONG)
    require_leases(store, [ANOTHER, SHARD], "second", ["second", "first"])
    require_lease(store.acquire_lease(ANOTHER, "third", LONG), "second", 1)
    positions_of(append(store, taken(store, "first", LONG), commit_of(STREAM, 0, "one")))
    store.release_lease(SHARD, "first")
    second = taken(store, "second", LONG)
    require(second.epoch > first.epoch, f"epoch {second.epoch} came after {first.epoch}")
    save = partial(store.save_checkpoints, SHARD, first.epoch, {SERVING: made(1)})
    require_equal(require_raises(StaleEpoch, save).newest, second.epoch, "the newest epoch")
    store.release_leases([SHARD], "second")
    require_equal(store.acquire_lease(SHARD, "third", LONG).owner, "third", "the owner")


CHECKS = (
    many_leases_are_taken_at_once,
    whoever_comes_second_gets_what_is_left,
    leases_given_back_together_are_free,
    leases_of_any_names_are_taken_at_once,
    leases_for_a_time_that_is_none_are_refused,
    a_closed_store_gives_no_leases,
)
CHECKPOINT_CHECKS = (leases_are_the_same_whether_taken_alone_or_together,)
