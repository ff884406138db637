"""Functions that use the store they are called by: no lock is held while they run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from eskernel.contracts import EventStore
from eskernel.testing.conformance.threads import at_once
from eskernel.testing.conformance.tools import (
    OTHER,
    STREAM,
    add,
    log_of,
    made,
    payloads_of,
    require,
    require_equal,
)
from eskernel.values import Event

ERRORS: Final = 40
"""More than a store has connections, files or threads to lose."""

Read = Callable[[Callable[[list[Any], Event], list[Any]]], list[Any]]
"""Reads STREAM with a function."""


def _reads(store: EventStore) -> list[Read]:
    return [
        lambda function: store.fold(STREAM, function, []),
        lambda function: store.fold_all(function, [], aggregate_types={STREAM[0]})[0],
    ]


def a_function_may_use_the_store_that_calls_it(store: EventStore) -> None:
    """Read what it likes, append to other streams, and to the one it is called for."""
    add(store, STREAM, 0, "a", "b", "c")
    for round_number, read in enumerate(_reads(store)):
        before = payloads_of(store, STREAM)
        found = at_once([partial(read, partial(_using, store, round_number))])[0]
        after = payloads_of(store, STREAM)
        require_equal(after, [*before, "more", "more"], "payloads after the function appended")
        require(found in (before, after), f"the function saw {found}, neither before nor after")
        written = payloads_of(store, ("order", str(round_number)))
        require_equal(written, before, "payloads the function copied to another stream")


def _using(store: EventStore, round_number: int, so_far: list[Any], event: Event) -> list[Any]:
    if event.payload == "more" and event.sequence > 3 + 2 * round_number:
        return [*so_far, event.payload]  # the function's own, if the store shows them already
    order = ("order", str(round_number))
    add(store, order, store.fold(order, _count, 0), event.payload)
    if event.sequence == 1:
        add(store, STREAM, store.fold(STREAM, _count, 0), "more", "more")
    inner = store.fold(order, lambda found, one: found + len(log_of(store)) * one.sequence, 0)
    require(inner > 0, "a function called by a function found nothing")
    require(store.last_position() > 0, "a function found the log empty")
    return [*so_far, event.payload]


def _count(number: int, _: Event) -> int:
    return number + 1


def the_store_serves_others_while_a_function_runs(store: EventStore) -> None:
    """The function waits for threads that read and append: to the same stream, too."""
    sequence = 0
    for read in _reads(store):
        add(store, STREAM, sequence, "a", "b")
        waited = False

        def wait_for_others(so_far: list[Any], event: Event, at: int = sequence + 2) -> list[Any]:
            nonlocal waited
            if not waited:
                waited = True
                at_once(
                    [
                        partial(add, store, STREAM, at, "meanwhile"),
                        partial(add, store, OTHER, 0 if at == 2 else 1, "meanwhile"),
                        partial(payloads_of, store, STREAM),
                        *(partial(log_of, store), store.last_position),
                    ]
                )
            return [*so_far, event.payload]

        read(wait_for_others)
        sequence += 3
        require_equal(len(payloads_of(store, STREAM)), sequence, "events of the stream")


def errors_of_functions_use_nothing_up(store: EventStore) -> None:
    """Not even many that are no Exceptions; readers and writers go on."""
    events = made(STREAM, 0, *range(2500))
    store.append(STREAM, events, expected_sequence=0)
    for number in range(ERRORS):
        error = (_Failed if number % 2 else _Interrupted)(number)
        after = (1, 2, 2500)[number % 3]

        def fail(seen: int, _: Event, error: BaseException = error, after: int = after) -> int:
            if seen + 1 == after:
                raise error
            return seen + 1

        for read in (partial(store.fold, STREAM), store.fold_all):
            try:
                read(fail, 0)
            except (_Failed, _Interrupted) as caught:
                require(caught is error, f"expected {error!r}, found {caught!r}")
            else:
                raise AssertionError("a reader's error was swallowed")
    add(store, STREAM, 2500, "good")
    require_equal(store.fold(STREAM, _count, 0), 2501, "events after many errors")


class _Failed(Exception):
    pass


class _Interrupted(BaseException):
    pass


CHECKS = (
    a_function_may_use_the_store_that_calls_it,
    the_store_serves_others_while_a_function_runs,
    errors_of_functions_use_nothing_up,
)
