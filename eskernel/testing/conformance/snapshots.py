"""Snapshots: the newest one of each stream."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from eskernel.contracts import SnapshotStore
from eskernel.testing.conformance.samples import ALIKE, IDENTIFIERS
from eskernel.testing.conformance.threads import at_once
from eskernel.testing.conformance.tools import (
    OTHER,
    STREAM,
    latest,
    require,
    require_equal,
)
from eskernel.values import Receipt, Snapshot


def a_stream_without_snapshots_has_none(store: SnapshotStore) -> None:
    """`load_latest` returns None, also when other streams have some."""
    require_equal(store.load_latest(STREAM), None, "the snapshot")
    store.store(Snapshot(OTHER, 1, "state"))
    require_equal(store.load_latest(STREAM), None, "the snapshot")
    require_equal(store.load_latest((OTHER[1], OTHER[0])), None, "the snapshot")


def the_highest_sequence_is_the_latest(store: SnapshotStore) -> None:
    """By number, not by digits, nor by time; also when it was not stored last."""
    rising = (1, 9, 10, 11, 99, 100, 255, 256, 65_536, 2**31, 2**40)
    for stream_id, keep in ((("a", "1"), 1), (("a", "2"), 2), (("a", "3"), 100)):
        for sequence in rising:
            store.store(Snapshot(stream_id, sequence, sequence, timestamp=-sequence), keep=keep)
            require_equal(latest(store, stream_id).state, sequence, "the newest state")
        for sequence in (10, 2**31 - 1, 1):
            store.store(Snapshot(stream_id, sequence, "older", timestamp=2**41), keep=keep)
            newest = latest(store, stream_id)
            require_equal((newest.sequence, newest.state), (2**40, 2**40), f"with keep={keep}")


def keeping_few_never_forgets_the_newest(store: SnapshotStore) -> None:
    """Whatever `keep` was before, and in whatever order they come; other streams lose nothing."""
    store.store(Snapshot(OTHER, 3, "other"))
    newest = 0
    for keep, sequence in ((5, 50), (5, 30), (1, 10), (3, 40), (1, 60), (2, 20), (1, 70), (2, 65)):
        store.store(Snapshot(STREAM, sequence, sequence), keep=keep)
        newest = max(newest, sequence)
        require_equal(latest(store).state, newest, f"state after keep={keep} of {sequence}")
    require_equal(latest(store, OTHER).state, "other", "the other stream's state")


def a_snapshot_of_the_same_sequence_is_replaced(store: SnapshotStore) -> None:
    """All of it, as when a domain's new version makes its own."""
    for keep in (1, 3):
        for number in range(3):
            snapshot = Snapshot(STREAM, 7, number, f"v{number}", (Receipt("c", 1, number),), number)
            store.store(snapshot, keep=keep)
            require_equal(store.load_latest(STREAM), snapshot, "the snapshot stored last")


def snapshots_of_any_names_stay_apart(store: SnapshotStore) -> None:
    """Paths, wildcards, quotes, case, blanks, unicode forms, 255 characters: all are just names."""
    named = [pair for name in IDENTIFIERS for pair in (("t", name), (name, "t"))]
    streams = list(dict.fromkeys([*named, *ALIKE]))
    for number, stream_id in enumerate(streams):
        store.store(Snapshot(stream_id, 1 + number, number))
    for number, stream_id in enumerate(streams):
        expected = Snapshot(stream_id, 1 + number, number)
        require_equal(latest(store, stream_id), expected, f"the snapshot of {stream_id!a}")


def threads_storing_snapshots_keep_the_newest(store: SnapshotStore) -> None:
    """Readers see whole snapshots, whose sequence never goes back."""
    store.store(Snapshot(STREAM, 1, [1] * 20))

    def write(first: int) -> None:
        for sequence in range(first, 120, 4):
            store.store(Snapshot(STREAM, sequence, [sequence] * 20), keep=1 + first % 2)

    def watch(running: Callable[[], bool]) -> None:
        seen = 1
        while running():
            found = latest(store)
            require_equal(found.state, [found.sequence] * 20, "the state of a snapshot")
            require(found.sequence >= seen, f"{seen} was there, then {found.sequence}")
            seen = found.sequence

    at_once([partial(write, first) for first in (2, 3, 4, 5)], [watch] * 3)
    require_equal(latest(store).sequence, 119, "the newest of all")


CHECKS = (
    a_stream_without_snapshots_has_none,
    the_highest_sequence_is_the_latest,
    keeping_few_never_forgets_the_newest,
    a_snapshot_of_the_same_sequence_is_replaced,
    snapshots_of_any_names_stay_apart,
    threads_storing_snapshots_keep_the_newest,
)
