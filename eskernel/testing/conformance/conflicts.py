"""No lost update, and appends that are sent twice."""

from __future__ import annotations

from functools import partial

from eskernel.contracts import EventStore
from eskernel.errors import ConcurrencyConflict
from eskernel.testing.conformance.tools import (
    OTHER,
    STREAM,
    add,
    log_of,
    payloads_of,
    require_conflict,
    require_equal,
    require_raises,
    require_unchanged,
)

_IDS = (1, 0, 2**64, 2**128 - 1)


def a_wrong_expected_sequence_is_a_conflict(store: EventStore) -> None:
    """Too low or too high, it raises ConcurrencyConflict with both numbers and stores nothing."""
    add(store, STREAM, 0, "one", "two", "three")
    add(store, OTHER, 0, *range(9))
    before = log_of(store)
    for expected in (0, 1, 2, 4, 5, 9, 1000):
        for payloads in (["lost"], ["lost", "update"]):
            error = require_raises(
                ConcurrencyConflict, partial(add, store, STREAM, expected, *payloads)
            )
            require_conflict(error, STREAM, expected, 3)
            require_unchanged(store, before, f"a conflict at {expected}")
    add(store, STREAM, 3, "four")
    require_equal(payloads_of(store, STREAM), ["one", "two", "three", "four"], "payloads")


def a_new_stream_is_at_sequence_0(store: EventStore) -> None:
    """Expecting any other number is a conflict, and leaves no trace of a stream."""
    for expected in (1, 2, 1000):
        error = require_raises(ConcurrencyConflict, partial(add, store, STREAM, expected, "lost"))
        require_conflict(error, STREAM, expected, 0)
        require_unchanged(store, [], "a conflict on a new stream")
    add(store, STREAM, 0, "first")
    require_equal(payloads_of(store, STREAM), ["first"], "payloads")


def an_append_sent_again_under_its_id_is_a_success(store: EventStore) -> None:
    """It returns the position it was stored at, and stores nothing."""
    sequence = 0
    for append_id in _IDS:
        send = partial(add, store, STREAM, sequence, "one", "two", append_id=append_id)
        position = send()
        before = log_of(store)
        for _ in range(2):
            require_equal(send(), position, f"position when id {append_id} is sent again")
            require_unchanged(store, before, f"id {append_id} was sent again")
        sequence += 2


def an_append_sent_again_after_later_ones_is_a_success(store: EventStore) -> None:
    """Also when others have written to the stream and the log meanwhile."""
    sends = [
        partial(add, store, STREAM, 3 * number, "a", "b", "c", append_id=append_id)
        for number, append_id in enumerate(_IDS)
    ]
    positions = [send() for send in sends]
    add(store, STREAM, 3 * len(sends), *range(20))
    add(store, OTHER, 0, *range(20), append_id=77)
    before = log_of(store)
    require_equal([send() for send in sends], positions, "positions when sent again")
    require_unchanged(store, before, "appends were sent again")


def an_append_under_another_id_is_a_conflict(store: EventStore) -> None:
    """Equal events are no sign of an equal append, nor is having no id."""
    for sequence, first in enumerate((5, 0, None)):
        add(store, STREAM, sequence, "same", append_id=first)
        before = log_of(store)
        for other in (6, 2**128 - 1, None, *([0] if first != 0 else [])):
            error = require_raises(
                ConcurrencyConflict,
                partial(add, store, STREAM, sequence, "same", append_id=other),
            )
            require_conflict(error, STREAM, sequence, sequence + 1)
            require_unchanged(store, before, f"id {other} met id {first}")


CHECKS = (
    a_wrong_expected_sequence_is_a_conflict,
    a_new_stream_is_at_sequence_0,
    an_append_sent_again_under_its_id_is_a_success,
    an_append_sent_again_after_later_ones_is_a_success,
    an_append_under_another_id_is_a_conflict,
)
