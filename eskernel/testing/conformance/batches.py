"""Many appends in one durable write, for stores that offer it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from eskernel.contracts import BatchingEventStore, Commit, EventStore
from eskernel.errors import ConcurrencyConflict, NotStorable
from eskernel.testing.conformance.tools import (
    OTHER,
    STREAM,
    add,
    log_of,
    made,
    payloads_of,
    require,
    require_conflict,
    require_equal,
    require_increasing,
    require_unchanged,
    stream_of,
)
from eskernel.values import StreamId


class Store(EventStore, BatchingEventStore, Protocol):
    """What these checks need."""


def commit_of(
    stream_id: StreamId, expected: int, *payloads: Any, append_id: int | None = None
) -> Commit:
    """Return a commit of events with these payloads."""
    return Commit(stream_id, made(stream_id, expected, *payloads), expected, append_id)


def positions_of(results: Sequence[int | Exception]) -> list[int]:
    """Return the positions of commits that were all stored."""
    for result in results:
        require(isinstance(result, int), f"a commit of the batch failed: {result!r}")
    return [result for result in results if isinstance(result, int)]


def a_batch_returns_results_in_order(store: Store) -> None:
    """One last position for each commit; the log has the commits in the batch's order."""
    require_equal(list(store.append_batch([])), [], "results of an empty batch")
    streams = [("order", str(number)) for number in range(300)]
    commits = [commit_of(stream_id, 0, *range(1 + len(stream_id[1]))) for stream_id in streams]
    positions = positions_of(store.append_batch(commits))
    require_equal(len(positions), len(commits), "number of results")
    require_increasing(positions, "positions returned")
    for stream_id, last in zip(streams, positions, strict=True):
        events = stream_of(store, stream_id)
        found = [event.position for event in events]
        require_equal(found, [*range(last + 1 - len(events), last + 1)], "positions of a commit")
    in_log = dict.fromkeys(event.stream_id for event in log_of(store))
    require_equal(list(in_log), streams, "streams in order of the log")


def a_failing_commit_does_not_fail_its_neighbours(store: Store) -> None:
    """Each is atomic on its own: a conflict, a hole or an unstorable payload is its own affair."""
    add(store, OTHER, 0, "one", "two")
    hole = Commit(("a", "2"), made(("a", "2"), 1, "hole"), 0)
    commits = [
        *(commit_of(("a", "1"), 0, "x"), commit_of(OTHER, 1, "lost"), hole),
        *(commit_of(("a", "3"), 0, "y", object(), "z"), commit_of(("a", "4"), 7, "lost")),
        *(Commit(("a", "5"), [], 0), commit_of(("a", "6"), 0, "y", "z")),
    ]
    first, conflict, bad, unstorable, ahead, empty, last = store.append_batch(commits)
    positions_of([first, last])
    require_conflict(conflict, OTHER, 1, 2)
    require_conflict(ahead, ("a", "4"), 7, 0)
    for error, kind in ((bad, ValueError), (empty, ValueError), (unstorable, NotStorable)):
        require(isinstance(error, kind), f"expected {kind.__name__}, found {error!r}")
    found = [event.payload for event in log_of(store)]
    require_equal(found, ["one", "two", "x", "y", "z"], "payloads in the log")
    for number in "2345":
        require_equal(payloads_of(store, ("a", number)), [], f"payloads of failed commit {number}")


def commits_on_one_stream_chain(store: Store) -> None:
    """Each sees what the one before it in the batch stored, with other streams in between."""
    add(store, STREAM, 0, 0)
    commits = []
    for number in range(30):
        commits.append(commit_of(STREAM, 1 + 2 * number, number, number, append_id=number))
        commits.append(commit_of(OTHER, number, number, append_id=100 + number))
    positions = positions_of(store.append_batch(commits))
    require_increasing(positions, "positions returned")
    require_equal(len(stream_of(store, STREAM)), 61, "events in the chained stream")
    require_equal(payloads_of(store, OTHER), [*range(30)], "payloads of the other")


def a_chain_breaks_at_its_first_conflict(store: Store) -> None:
    """The rest conflicts too, even where it would fit by chance: it was decided on what failed."""
    add(store, STREAM, 0, "somebody else's")
    before = log_of(store)
    chain = [commit_of(STREAM, expected, f"decided at {expected}") for expected in range(3)]
    results = store.append_batch([chain[0], commit_of(OTHER, 0, "fine"), *chain[1:]])
    require_conflict(results[0], STREAM, 0, 1)
    for result in results[2:]:
        require(isinstance(result, ConcurrencyConflict), f"a broken chain went on: {result!r}")
    require_equal(payloads_of(store, STREAM), ["somebody else's"], "payloads of the chain's stream")
    require_equal(payloads_of(store, OTHER), ["fine"], "payloads of the other")
    require_equal(log_of(store)[:-1], before, "the log but for its last event")
    positions_of(store.append_batch([commit_of(STREAM, 1, "decided again")]))


def commits_sent_again_under_their_ids_are_a_success(store: Store) -> None:
    """In a later batch, by themselves, or together with what follows them in a chain."""
    chain = [commit_of(STREAM, number, number, append_id=number) for number in range(4)]
    positions = positions_of(store.append_batch(chain[:2]))
    positions += positions_of(store.append_batch(chain[1:3]))[1:]
    again = positions_of(store.append_batch(chain))
    require_equal(again[:3], positions, "positions of commits sent again")
    require_equal(payloads_of(store, STREAM), [0, 1, 2, 3], "payloads")
    before = log_of(store)
    twice = positions_of(store.append_batch([chain[3], chain[3], chain[0]]))
    require_equal(twice, [again[3], again[3], again[0]], "positions of commits sent twice")
    other, append_id = store.append_batch([chain[2]._replace(append_id=99)]), chain[2].append_id
    require_conflict(other[0], STREAM, 2, 4)
    stream_id, events, expected, _ = chain[2]
    position = store.append(stream_id, events, expected_sequence=expected, append_id=append_id)
    require_equal(position, again[2], "position of a commit sent again by append")
    require_unchanged(store, before, "commits were sent again")


CHECKS = (
    a_batch_returns_results_in_order,
    a_failing_commit_does_not_fail_its_neighbours,
    commits_on_one_stream_chain,
    a_chain_breaks_at_its_first_conflict,
    commits_sent_again_under_their_ids_are_a_success,
)
