"""Thousands of events: written in one append, read across every page a store may read them in."""

from __future__ import annotations

from functools import partial
from typing import Final

from eskernel.contracts import EventStore
from eskernel.errors import ConcurrencyConflict
from eskernel.testing.conformance.log_reading import require_read
from eskernel.testing.conformance.tools import (
    OTHER,
    STREAM,
    add,
    log_of,
    made,
    page_of,
    require_conflict,
    require_equal,
    require_raises,
    stream_of,
)
from eskernel.values import Event, Range, StreamId

MANY: Final = 10_000
PAGES: Final = 4_100
"""Events that fill some pages of a thousand, or of two or four thousand, and a bit of the next."""
EDGES: Final = (1, 2, 999, 1000, 1001, 1999, 2000, 2001, 4000, 4001, 4096, 4099, 4100, 4101)
"""Sequences and positions at the ends of pages, the stream's own among them."""
LIMITS: Final = (999, 1000, 1001, 1999, 2000, 2001)


def _with_sequence(sequences: list[int], event: Event) -> list[int]:
    sequences.append(event.sequence)
    return sequences


def ten_thousand_events_fit_in_one_append(store: EventStore) -> None:
    """They are stored like any others: whole, in order, with consecutive positions."""
    add(store, OTHER, 0, "before")
    last = add(store, STREAM, 0, *range(MANY))
    found = [(event.sequence, event.position, event.payload) for event in stream_of(store, STREAM)]
    expected = [(number + 1, last - MANY + 1 + number, number) for number in range(MANY)]
    require_equal(found, expected, "sequences, positions and payloads")
    require_equal(store.last_position(), last, "the last position")
    require_equal(len(log_of(store)), MANY + 1, "events in the log")
    for wrong in (0, MANY - 1, MANY + 1):
        error = require_raises(ConcurrencyConflict, partial(add, store, STREAM, wrong, "lost"))
        require_conflict(error, STREAM, wrong, MANY)
    add(store, STREAM, MANY, "after")
    require_equal(stream_of(store, STREAM, Range(MANY + 1))[0].payload, "after", "the next payload")


def a_long_append_sent_again_under_its_id_is_a_success(store: EventStore) -> None:
    """However long it was; under another id it is a conflict."""
    sizes = (999, 1000, 1001, 2000, 2001, MANY)
    streams = [("order", str(size)) for size in sizes]
    for size, stream_id in zip(sizes, streams, strict=True):
        send = partial(_send, store, stream_id, size, size)
        position = send()
        require_equal(send(), position, f"position when {size} events are sent again")
        add(store, stream_id, size, "later")
        require_equal(send(), position, f"position when {size} events are sent again, and later")
        error = require_raises(ConcurrencyConflict, partial(_send, store, stream_id, size, 7))
        require_conflict(error, stream_id, 0, size + 1)
    require_equal(len(log_of(store)), sum(sizes) + len(sizes), "events in the log")


def _send(store: EventStore, stream_id: StreamId, size: int, append_id: int) -> int:
    events = made(stream_id, 0, *[None] * size)
    return store.append(stream_id, events, expected_sequence=0, append_id=append_id)


def an_append_sent_again_thousands_of_events_later_is_a_success(store: EventStore) -> None:
    """Wherever stream and log have got to meanwhile."""
    sends = [
        partial(add, store, STREAM, 2 * number, "a", "b", append_id=number + 1)
        for number in range(3)
    ]
    positions = [send() for send in sends]
    add(store, STREAM, 2 * len(sends), *range(PAGES))
    for number in range(20):
        add(store, OTHER, 5 * number, *range(5))
    last = store.last_position()
    require_equal([send() for send in sends], positions, "positions when sent again")
    stranger = partial(add, store, STREAM, 2, "a", "b", append_id=77)
    error = require_raises(ConcurrencyConflict, stranger)
    require_conflict(error, STREAM, 2, PAGES + 2 * len(sends))
    require_equal(store.last_position(), last, "the last position")


def a_long_stream_is_read_in_any_range(store: EventStore) -> None:
    """From, to and across the ends of pages."""
    add(store, STREAM, 0, *range(1500))
    add(store, OTHER, 0, *range(10))
    add(store, STREAM, 1500, *range(PAGES - 1500))
    for edge in EDGES:
        for wanted in (
            *(Range(edge), Range(1, edge), Range(edge, edge + 1), Range(edge - 1, edge + 1)),
            *(Range(edge, edge + 1000), Range(edge, edge + 2000), Range(edge, edge + 2001)),
        ):
            stop = PAGES + 1 if wanted.stop is None else min(wanted.stop, PAGES + 1)
            expected = [*range(max(wanted.start, 1), stop)]
            found: list[int] = []
            found = store.fold(STREAM, _with_sequence, found, wanted)
            require_equal(found, expected, f"sequences in {tuple(wanted)}")


def a_long_log_is_read_with_any_limit(store: EventStore) -> None:
    """The position reached is exact, and the next page goes on from there."""
    for number in range(4):
        add(store, ("order", str(number)), 0, *range(PAGES // 4))
    log = log_of(store)
    require_equal(len(log), PAGES, "events in the log")
    for limit in (*LIMITS, 4000, PAGES, PAGES + 1):
        require_read(store, log, Range(), limit)
        require_read(store, log, Range(log[1000].position or 0), limit)
    for limit in LIMITS:
        sequences: list[int] = []
        reached, end = 0, store.last_position()
        while reached < end:
            sequences, last = store.fold_all(
                _with_sequence, sequences, Range(reached + 1), limit=limit
            )
            expected = [event.position for event in log if (event.position or 0) > reached][:limit]
            require_equal(last, expected[-1], f"position reached after {reached}, limit {limit}")
            reached = last
        expected = [event.sequence for event in log]
        require_equal(sequences, expected, f"sequences in pages of {limit}")


def filters_pass_over_thousands_of_events(store: EventStore) -> None:
    """The few that match are found, and what lies between is reached."""
    half = MANY // 2
    for stream_id in (("order", "1"), ("account", "1")):
        events = made(stream_id, 0, *range(half), type="common")
        for index in (0, half // 2, half - 1):
            events[index] = events[index]._replace(type="rare")
        store.append(stream_id, events, expected_sequence=0)
    log = log_of(store)
    middle = log[half].position or 0
    for wanted in (Range(), Range((log[1].position or 0), middle - 1), Range(middle)):
        for limit in (None, 2000, half - 1, half + 1):
            require_read(store, log, wanted, limit, types={"rare"})
    require_read(store, log, Range(), None, types={"unheard of"})
    for limit in (half, half + 1, None):
        require_read(store, log, Range(), limit, types=["rare"], aggregate_types=["account"])
    first, reached = page_of(store, limit=half, aggregate_types={"account"})
    require_equal((first, reached), ([], log[half - 1].position), "half the log without a match")


CHECKS = (
    ten_thousand_events_fit_in_one_append,
    a_long_append_sent_again_under_its_id_is_a_success,
    an_append_sent_again_thousands_of_events_later_is_a_success,
    a_long_stream_is_read_in_any_range,
    a_long_log_is_read_with_any_limit,
    filters_pass_over_thousands_of_events,
)
