"""Many threads writing at once: nothing lost, nothing stored twice."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from eskernel.contracts import EventStore
from eskernel.errors import ConcurrencyConflict
from eskernel.testing.conformance.threads import at_once
from eskernel.testing.conformance.tools import (
    STREAM,
    add,
    log_of,
    payloads_of,
    require_conflict,
    require_equal,
    require_increasing,
    stream_of,
)
from eskernel.values import StreamId

_THREADS = 8
APPENDS = 30
SIZE = 3
"""Events in one append, so that a part of one shows."""


def _try(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except ConcurrencyConflict as conflict:
        return conflict


def each_sequence_is_won_by_exactly_one_thread(store: EventStore) -> None:
    """Threads that expect the same sequence: one stores its events, the others conflict."""
    for sequence in range(APPENDS):
        jobs = [partial(add, store, STREAM, sequence, number) for number in range(_THREADS)]
        results = at_once([partial(_try, job) for job in jobs])
        winners = [number for number, result in enumerate(results) if isinstance(result, int)]
        require_equal(len(winners), 1, f"number of winners of sequence {sequence + 1}")
        for result in results[: winners[0]] + results[winners[0] + 1 :]:
            require_conflict(result, STREAM, sequence, sequence + 1)
        last = stream_of(store, STREAM)[-1]
        won = (last.payload, last.position)
        require_equal(won, (winners[0], results[winners[0]]), "the winner's event and position")
    require_equal(len(log_of(store)), APPENDS, "events in the log")


def threads_that_retry_their_conflicts_lose_no_update(store: EventStore) -> None:
    """A counter that each event advances by one counts every append."""

    def count() -> None:
        for _ in range(APPENDS):
            sequence = 0
            while isinstance(
                conflict := _try(partial(add, store, STREAM, sequence, sequence + 1)),
                ConcurrencyConflict,
            ):
                sequence = conflict.actual

    at_once([count] * _THREADS)
    total = _THREADS * APPENDS
    require_equal(payloads_of(store, STREAM), [*range(1, total + 1)], "the counter's history")


def one_append_sent_by_many_threads_is_stored_once(store: EventStore) -> None:
    """All of them succeed, with one position."""
    for number in range(APPENDS):
        send = partial(add, store, STREAM, number * 2, "a", "b", append_id=number)
        positions = at_once([send] * _THREADS)
        require_equal(positions, [store.last_position()] * _THREADS, "positions returned")
    require_equal(len(log_of(store)), 2 * APPENDS, "events in the log")


def many_threads_write_many_streams(store: EventStore) -> None:
    """Each append is stored once, where its thread was told."""
    streams = [("order", str(number)) for number in range(_THREADS)]
    results = at_once([partial(write, store, stream_id) for stream_id in streams])
    for stream_id, positions in zip(streams, results, strict=True):
        require_increasing(positions, f"positions returned to the writer of {stream_id}")
        events = stream_of(store, stream_id)
        require_equal([event.sequence for event in events], sequences(APPENDS), "sequences")
        found = [event.position for event in events]
        told = [position - SIZE + n for position in positions for n in range(1, SIZE + 1)]
        require_equal(found, told, f"positions of {stream_id}")
    require_equal(len(log_of(store)), _THREADS * APPENDS * SIZE, "events in the log")


def write(
    store: EventStore, stream_id: StreamId, tell: Callable[[int], Any] = int, begin: int = 0
) -> list[int]:
    """Append `APPENDS` times, telling each last sequence; return the positions."""
    positions = []
    for sequence in range(begin, begin + APPENDS * SIZE, SIZE):
        positions.append(add(store, stream_id, sequence, *range(SIZE)))
        tell(sequence + SIZE)
    return positions


def sequences(appends: int) -> list[int]:
    """Return the sequences of a stream that `write` has appended to so many times."""
    return [*range(1, appends * SIZE + 1)]


CHECKS = (
    each_sequence_is_won_by_exactly_one_thread,
    threads_that_retry_their_conflicts_lose_no_update,
    one_append_sent_by_many_threads_is_stored_once,
    many_threads_write_many_streams,
)
