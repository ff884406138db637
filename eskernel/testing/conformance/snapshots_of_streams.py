"""Snapshots in a store that keeps their streams as well: neither knows of the other."""

from __future__ import annotations

from typing import Protocol

from eskernel.contracts import EventStore, SnapshotStore
from eskernel.testing.conformance.tools import (
    OTHER,
    STREAM,
    add,
    latest,
    log_of,
    payloads_of,
    require_equal,
    require_unchanged,
)
from eskernel.values import Range, Receipt, Snapshot


class Store(EventStore, SnapshotStore, Protocol):
    """What these checks need."""


def a_snapshot_behind_at_or_ahead_of_its_stream_is_kept_as_it_is(store: Store) -> None:
    """Which one is of use is the kernel's to decide: it logs what is wrong, and rehydrates."""
    add(store, STREAM, 0, *range(10))
    before = log_of(store)
    for sequence in (5, 9, 10, 11, 25):
        snapshot = Snapshot(STREAM, sequence, {"at": sequence}, "v", (Receipt("c", 1, 2),), 7)
        store.store(snapshot, keep=2)
        require_equal(latest(store), snapshot, f"the snapshot at {sequence} of ten events")
    store.store(Snapshot(STREAM, 10, "at the end"), keep=2)
    ahead = Snapshot(STREAM, 25, "ahead")
    store.store(ahead, keep=2)
    require_unchanged(store, before, "snapshots were stored")
    for sequence in (10, 20, 30):
        add(store, STREAM, sequence, *range(sequence, sequence + 10))
        require_equal(latest(store), ahead, f"the snapshot at 25 of {sequence + 10} events")
    require_equal(payloads_of(store, STREAM, Range(26)), [*range(25, 40)], "payloads after it")


def a_snapshot_of_a_stream_without_events_is_kept(store: Store) -> None:
    """It makes no stream; the stream's first event is 1 all the same."""
    store.store(Snapshot(STREAM, 7, "early"))
    add(store, OTHER, 0, "other")
    require_equal(latest(store).state, "early", "the state")
    require_equal(payloads_of(store, STREAM), [], "payloads of the stream")
    add(store, STREAM, 0, "first")
    require_equal(payloads_of(store, STREAM), ["first"], "payloads of the stream")
    require_equal(latest(store).state, "early", "the state")


CHECKS = (
    a_snapshot_behind_at_or_ahead_of_its_stream_is_kept_as_it_is,
    a_snapshot_of_a_stream_without_events_is_kept,
)
