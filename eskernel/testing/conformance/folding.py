"""Reading one stream."""

from __future__ import annotations

from typing import Any, NoReturn

from eskernel.contracts import EventStore
from eskernel.testing.conformance.tools import (
    OTHER,
    STREAM,
    add,
    log_of,
    payloads_of,
    require,
    require_equal,
    require_raises,
    stream_of,
)
from eskernel.values import Event, Range

RANGES = (
    *(Range(), Range(1), Range(0, None), Range(4), Range(8), Range(9), Range(100)),
    *(Range(0, 4), Range(1, 4), Range(3, 4), Range(3, 6), Range(1, 9), Range(1, 8), Range(6, 99)),
    *(Range(0, 0), Range(0, 1), Range(1, 1), Range(4, 4), Range(5, 3), Range(50, 60), Range(9, 9)),
    *(Range(2**31, 2**40), Range(2, 2**62), Range(2**62)),
)
"""Open and closed, empty and full, before, inside, across and past the end of eight events."""


def fold_reads_the_range_asked_for(store: EventStore) -> None:
    """Sequences from start up to, not including, stop; whatever of that there is."""
    add(store, OTHER, 0, *range(20))
    for sequence in (0, 3, 6):
        add(store, STREAM, sequence, *range(sequence + 1, sequence + 4)[: 8 - sequence])
    for wanted in RANGES:
        inside = [sequence for sequence in range(1, 9) if wanted.contains(sequence)]
        found = [event.sequence for event in stream_of(store, STREAM, wanted)]
        require_equal(found, inside, f"sequences in {tuple(wanted)}")
        require_equal(payloads_of(store, STREAM, wanted), inside, f"payloads in {tuple(wanted)}")


def an_unknown_stream_has_no_events(store: EventStore) -> None:
    """`fold` returns the very accumulator it was given, whatever the range."""
    initial: list[Event] = []
    for sequence in range(2):
        for wanted in RANGES:
            result = store.fold(STREAM, _never_called, initial, wanted)
            require(result is initial, f"an unknown stream made {result!r} of the accumulator")
        add(store, OTHER, sequence, "other")
    result = store.fold((OTHER[0], OTHER[1] + "2"), _never_called, initial)
    require(result is initial, "a stream whose name begins like another's is not empty")


def fold_reduces_as_functools_reduce(store: EventStore) -> None:
    """The accumulator goes from call to call; any value will do, None included."""
    add(store, STREAM, 0, "a", "b", "c")
    text = store.fold(STREAM, lambda so_far, event: f"({so_far}{event.payload})", "")
    require_equal(text, "(((a)b)c)", "the last accumulator")
    nothing: Any = store.fold(STREAM, _to_nothing, "some")
    require_equal(nothing, None, "an accumulator of None")
    text, _ = store.fold_all(lambda so_far, event: f"({so_far}{event.payload})", "")
    require_equal(text, "(((a)b)c)", "the last accumulator of the log")


def fold_sees_every_acknowledged_append(store: EventStore) -> None:
    """At once, through `fold`, `fold_all` and `last_position`."""
    for sequence in range(25):
        position = add(store, STREAM, sequence, sequence)
        require_equal(payloads_of(store, STREAM), [*range(sequence + 1)], "payloads at once")
        require_equal(log_of(store)[-1].position, position, "the log's end at once")
        require_equal(store.last_position(), position, "the last position at once")


def an_error_of_the_function_reaches_the_reader(store: EventStore) -> None:
    """As it was raised; and the store goes on working."""
    add(store, STREAM, 0, "a", "b")
    for call in (
        lambda: store.fold(STREAM, _raising, None),
        lambda: store.fold_all(_raising, None),
    ):
        error = require_raises(_ReaderError, call)
        require_equal(error.args, (STREAM,), "the error's arguments")
    add(store, STREAM, 2, "c")
    require_equal(payloads_of(store, STREAM), ["a", "b", "c"], "payloads after an error")


class _ReaderError(Exception):
    pass


def _raising(_: Any, event: Event) -> NoReturn:
    raise _ReaderError(event.stream_id)


def _to_nothing(_: Any, __: Event) -> Any:
    return None


def _never_called(_: list[Event], event: Event) -> list[Event]:
    raise AssertionError(f"an unknown stream has {event}")


CHECKS = (
    fold_reads_the_range_asked_for,
    an_unknown_stream_has_no_events,
    fold_reduces_as_functools_reduce,
    fold_sees_every_acknowledged_append,
    an_error_of_the_function_reaches_the_reader,
)
