"""Checkpoints in a store that is closed, opened again, or keeps events as well."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Semaphore
from typing import Any, Final, Protocol

from eskernel.contracts import CheckpointStore, EventStore, SnapshotStore
from eskernel.errors import StoreUnavailable
from eskernel.testing.conformance.checking import Reopen
from eskernel.testing.conformance.checkpoint_races import position_in
from eskernel.testing.conformance.checkpoints import NAME, made, require_slots
from eskernel.testing.conformance.epochs import require_refused
from eskernel.testing.conformance.leases import LONG
from eskernel.testing.conformance.samples import PAYLOADS
from eskernel.testing.conformance.threads import DEADLINE, at_once
from eskernel.testing.conformance.tools import (
    CODEC,
    STREAM,
    add,
    latest,
    log_of,
    require,
    require_equal,
    require_unchanged,
)
from eskernel.values import SERVING, Checkpoint, Snapshot

_SLOTS: Final = ("a", "b", "c")
_WARM: Final = 3
"""Saves each writer makes before the store is closed."""


class Store(CheckpointStore, EventStore, SnapshotStore, Protocol):
    """What the check of a store of everything needs."""


def a_closed_store_says_that_it_is_unavailable(store: CheckpointStore) -> None:
    """StoreUnavailable, if anything; a store in memory may go on."""
    store.save_checkpoints(NAME, 0, {SERVING: made(1)})
    close: Callable[[], Any] = getattr(store, "close", lambda: None)
    close()
    calls: tuple[Callable[[], object], ...] = (
        partial(store.load_checkpoint, NAME),
        partial(store.save_checkpoints, NAME, 1, {SERVING: made(2)}),
        partial(store.acquire_lease, NAME, "owner", 1),
        partial(store.release_lease, NAME, "owner"),
    )
    for call in calls:
        with suppress(StoreUnavailable):
            call()


def neither_checkpoints_nor_events_nor_snapshots_know_of_the_others(store: Store) -> None:
    """A checkpoint may be of any position, behind, at or ahead of the log's last."""
    aggregate_type, aggregate_id = STREAM
    add(store, STREAM, 0, "one", "two")
    before = log_of(store)
    store.store(Snapshot(STREAM, 2, "state"))
    for position in (0, 2, 99):
        store.save_checkpoints(aggregate_type, 1, {aggregate_id: made(position)})
        found = store.load_checkpoint(aggregate_type, aggregate_id)
        require_equal(found, made(position, epoch=1), "the checkpoint")
    require_unchanged(store, before, "checkpoints were saved")
    require_equal(latest(store), Snapshot(STREAM, 2, "state"), "the snapshot")
    add(store, STREAM, 2, "three")
    store.store(Snapshot(STREAM, 3, "later"))
    found = store.load_checkpoint(aggregate_type, aggregate_id)
    require_equal(found, made(99, epoch=1), "the checkpoint after an append and a snapshot")


def checkpoints_outlive_closing(store: CheckpointStore, reopen: Reopen[CheckpointStore]) -> None:
    """Every byte of each slot; what was emptied stays empty."""
    slots = {
        f"slot {number}": Checkpoint(number, "v", CODEC.pack(payload), CODEC.pack([payload]), 1)
        for number, payload in enumerate(PAYLOADS)
    }
    store.save_checkpoints(NAME, 1, {**slots, "emptied": made(1)})
    store.save_checkpoints(NAME, 1, {"emptied": None})
    for _ in range(2):
        store = reopen(store)
        require_slots(store, NAME, **slots, emptied=None)
    store.save_checkpoints(NAME, 2, {"slot 0": None})
    require_slots(reopen(store), NAME, **{**slots, "slot 0": None})


def epochs_outlive_closing(store: CheckpointStore, reopen: Reopen[CheckpointStore]) -> None:
    """Of saves, of leases that were held, and of those that were given back."""
    store.save_checkpoints(NAME, 7, {})
    store = reopen(store)
    require_refused(store, 6, 7, {SERVING: made(1)})
    epochs = [7]
    for owner, gives_back in (("first", True), ("second", True), ("second", False)):
        lease = store.acquire_lease(NAME, owner, LONG)
        require_equal(lease.owner, owner, "the owner of a lease that was given back")
        epochs.append(lease.epoch)
        if gives_back:
            store.release_lease(NAME, owner)
        store = reopen(store)
        require_refused(store, epochs[-2], epochs[-1], {SERVING: made(1)})
    lease = store.acquire_lease(NAME, "third", LONG)  # who had it may be forgotten or not
    require_equal(lease.epoch > epochs[-1], lease.owner == "third", f"{lease} after {epochs}")


def what_was_saved_until_closing_is_stored(
    store: CheckpointStore, reopen: Reopen[CheckpointStore]
) -> None:
    """Whatever failed because of the closing is not, unless its outcome was unknown."""
    warm = Semaphore(0)

    def close() -> None:
        for _ in _SLOTS:
            warm.acquire(timeout=DEADLINE)
        store.close()  # type: ignore[attr-defined]  # what is opened again was closed

    writers = [partial(_save, store, slot, warm) for slot in _SLOTS]
    written = at_once([close], writers)[1:]
    store = reopen(store)
    for slot, (acknowledged, unknown) in zip(_SLOTS, written, strict=True):
        found = position_in(store, slot)
        missing = f"position {acknowledged} was acknowledged in {slot}, and {found} is there"
        require(acknowledged <= found <= acknowledged + unknown, missing)


def _save(
    store: CheckpointStore, slot: str, warm: Semaphore, running: Callable[[], bool]
) -> tuple[int, bool]:
    """Save until the store refuses, or is closed and has taken one more."""
    acknowledged, open_before = 0, True
    while open_before:
        open_before = running()
        try:
            store.save_checkpoints(NAME, 1, {slot: made(acknowledged + 1)})
        except StoreUnavailable as error:
            if acknowledged < _WARM:
                warm.release()
                raise  # before the store was closed
            return acknowledged, error.outcome_unknown
        acknowledged += 1
        if acknowledged == _WARM:
            warm.release()
    return acknowledged, False


CHECKS = (a_closed_store_says_that_it_is_unavailable,)
STREAM_CHECKS = (neither_checkpoints_nor_events_nor_snapshots_know_of_the_others,)
DURABILITY_CHECKS = (
    checkpoints_outlive_closing,
    epochs_outlive_closing,
    what_was_saved_until_closing_is_stored,
)
