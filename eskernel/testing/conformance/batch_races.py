"""Many threads with a batch each, and batches of a thousand commits."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from eskernel.errors import ConcurrencyConflict
from eskernel.testing.conformance.batches import Store, commit_of, positions_of
from eskernel.testing.conformance.threads import at_once
from eskernel.testing.conformance.tools import (
    OTHER,
    STREAM,
    add,
    log_of,
    payloads_of,
    require,
    require_conflict,
    require_equal,
    require_increasing,
    stream_of,
    with_event,
)
from eskernel.values import Event, Range, StreamId

_THREADS: Final = 4
_ROUNDS: Final = 8
_SHARED: Final = tuple(("shared", str(number)) for number in range(5))


def a_batch_of_a_thousand_commits_is_stored(store: Store) -> None:
    """Chains from its beginning to its end hold, and break, as in a short one."""
    add(store, OTHER, 0, "somebody else's")
    streams = [("order", str(number)) for number in range(499)]
    commits = [commit_of(OTHER, 0, "lost")]
    for sequence in range(2):
        commits += [commit_of(stream_id, sequence, sequence) for stream_id in streams]
    commits.append(commit_of(OTHER, 1, "fits by chance"))
    first, *good, last = store.append_batch(commits)
    require_conflict(first, OTHER, 0, 1)
    require(isinstance(last, ConcurrencyConflict), f"a broken chain went on: {last!r}")
    require_equal(len(good), 998, "number of results between the first and the last")
    require_increasing(positions_of(good), "positions returned")
    found = [event.position for event in log_of(store)]
    require_equal(found[1:], good, "positions in the log")
    require_equal(payloads_of(store, OTHER), ["somebody else's"], "payloads of the broken chain")
    for stream_id in (streams[0], streams[-1]):
        require_equal(payloads_of(store, stream_id), [0, 1], f"payloads of {stream_id}")


def of_batches_at_once_one_wins_each_stream(store: Store) -> None:
    """Chains to shared streams, in other orders: one thread stores all of its, the others none."""
    for round_number in range(_ROUNDS):
        start = 2 * round_number
        jobs = [partial(_send, store, thread, start) for thread in range(_THREADS)]
        results = at_once(jobs)
        for stream_id in _SHARED:
            outcomes = [result[stream_id] for result in results]
            winners = [
                thread
                for thread, (first, second) in enumerate(outcomes)
                if isinstance(first, int) and isinstance(second, int)
            ]
            require_equal(len(winners), 1, f"threads that won {stream_id} at {start}")
            for thread, outcome in enumerate(outcomes):
                if thread not in winners:
                    kinds = {type(one) for one in outcome}
                    require_equal(kinds, {ConcurrencyConflict}, "outcomes of who lost")
            events = stream_of(store, stream_id)[start:]
            found = [(event.sequence, event.payload, event.position) for event in events]
            won = [*enumerate(outcomes[winners[0]], start + 1)]
            expected = [(sequence, winners[0], position) for sequence, position in won]
            require_equal(found, expected, f"the winner's events in {stream_id}")
    events_in_all = 2 * _ROUNDS * (len(_SHARED) + _THREADS)
    require_equal(len(log_of(store)), events_in_all, "events in the log")


def _send(
    store: Store, thread: int, start: int
) -> dict[StreamId, tuple[int | Exception, int | Exception]]:
    """Append two commits to each shared stream and to one that is the thread's own."""
    own = ("own", str(thread))
    at = thread % len(_SHARED)
    streams = [*_SHARED[at:], own, *_SHARED[:at]]
    if thread % 2:
        streams.reverse()
    commits = [
        commit_of(stream_id, start + link, thread) for link in range(2) for stream_id in streams
    ]
    results = list(store.append_batch(commits))
    outcomes = dict(
        zip(
            streams, zip(results[: len(streams)], results[len(streams) :], strict=True), strict=True
        )
    )
    positions_of(outcomes.pop(own))
    return outcomes


def readers_during_batches_miss_nothing(store: Store) -> None:
    """Who pages on meets every commit of every batch once, whole and in order."""
    size = 3

    def write(thread: int) -> None:
        for sequence in range(0, 12 * size, size):
            streams = [("order", f"{thread}.{number}") for number in range(10)]
            commits = [commit_of(stream_id, sequence, *range(size)) for stream_id in streams]
            positions_of(store.append_batch(commits))

    def page(running: Callable[[], bool]) -> list[Event]:
        found: list[Event] = []
        reached = 0
        while running() or reached < store.last_position():
            found, last = store.fold_all(with_event, found, Range(reached + 1))
            require(last >= reached, f"after {reached} a page reached {last}")
            require_equal(len(found) % size, 0, f"parts of a commit seen up to {last}")
            reached = last
        return found

    def watch(running: Callable[[], bool]) -> None:
        while running():
            found = len(stream_of(store, ("order", "0.9")))
            require_equal(found % size, 0, "parts of a commit in a stream")

    found = at_once([partial(write, thread) for thread in range(2)], [page, watch])[2]
    require_equal(found, log_of(store), "what a paging reader saw")
    require_equal(len(found), 2 * 12 * 10 * size, "events in the log")
    require_equal(payloads_of(store, STREAM), [], "payloads of an unknown stream")


CHECKS = (
    a_batch_of_a_thousand_commits_is_stored,
    of_batches_at_once_one_wins_each_stream,
    readers_during_batches_miss_nothing,
)
