"""What happens when a store is closed, and opened again."""

from __future__ import annotations

from functools import partial

from eskernel.contracts import EventStore, SnapshotStore
from eskernel.errors import ConcurrencyConflict
from eskernel.testing.conformance.checking import Reopen
from eskernel.testing.conformance.samples import PAYLOADS
from eskernel.testing.conformance.tools import (
    OTHER,
    STREAM,
    add,
    log_of,
    made,
    require_conflict,
    require_equal,
    require_raises,
    require_unchanged,
)
from eskernel.values import Receipt, Snapshot


def closing_twice_is_harmless(store: EventStore) -> None:
    """Neither call raises, on a store that was used."""
    add(store, STREAM, 0, "one")
    store.close()
    store.close()


def events_outlive_closing(store: EventStore, reopen: Reopen[EventStore]) -> None:
    """All of them, as they were, in stream and log; new ones come after them."""
    store.append(STREAM, made(STREAM, 0, *PAYLOADS), expected_sequence=0)
    add(store, OTHER, 0, "one")
    before, last = log_of(store), store.last_position()
    for number in range(2):
        store = reopen(store)
        require_unchanged(store, before, "opening again")
        position = add(store, OTHER, 1 + number, "later")
        require_equal(position > last, True, f"{position} is after {last}")
        before, last = log_of(store), position


def conflicts_outlive_closing(store: EventStore, reopen: Reopen[EventStore]) -> None:
    """What was stored counts; what was not left no trace."""
    add(store, STREAM, 0, "one", "two")
    require_raises(ConcurrencyConflict, partial(add, store, STREAM, 1, "lost"))
    before = log_of(store)
    store = reopen(store)
    error = require_raises(ConcurrencyConflict, partial(add, store, STREAM, 1, "lost"))
    require_conflict(error, STREAM, 1, 2)
    require_unchanged(store, before, "a conflict")


def append_ids_outlive_closing(store: EventStore, reopen: Reopen[EventStore]) -> None:
    """An append sent again to a store opened again is a success, at the first position."""
    ids = (1, 2**128 - 1)
    positions = [add(store, STREAM, n, n, append_id=append_id) for n, append_id in enumerate(ids)]
    before = log_of(store)
    store = reopen(store)
    require_unchanged(store, before, "opening again")
    again = [add(store, STREAM, n, n, append_id=append_id) for n, append_id in enumerate(ids)]
    require_equal(again, positions, "positions of appends sent again")
    require_unchanged(store, before, "appends were sent again")


def snapshots_outlive_closing(store: SnapshotStore, reopen: Reopen[SnapshotStore]) -> None:
    """With state, version, receipts and timestamp."""
    snapshot = Snapshot(STREAM, 10, list(PAYLOADS), "v2", (Receipt("c-1", 1, 2),), 5)
    store.store(snapshot, keep=2)
    store.store(Snapshot(STREAM, 9, "older"), keep=2)
    store = reopen(store)
    require_equal(store.load_latest(STREAM), snapshot, "the snapshot")


CHECKS = (closing_twice_is_harmless,)
DURABILITY_CHECKS = (events_outlive_closing, conflicts_outlive_closing, append_ids_outlive_closing)
