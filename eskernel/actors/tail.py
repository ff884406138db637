"""Tail: the events this kernel has committed last, for those who follow the log closely.

Reading an event that was just written from a database costs a busy interpreter far more than the
event is worth, once for each follower. So the committer leaves what it has stored here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, TypeVar

from eskernel.contracts import Commit, EventStore
from eskernel.values import Event, Range

A = TypeVar("A")

KEPT: Final = 2000
"""Events kept at most."""
KEPT_BYTES: Final = 1 << 12
"""Of payload and metadata in one event at most; a larger one is read from the store."""
_BODY, _HEADER = 3, 4


class Tail:
    """The newest events of one kernel, by position; written by its committer, read by all.

    Only what was acknowledged is in it, and it is read only from one position to the next: where
    another process has written in between, or an outcome was unknown, there is a hole, and the
    store is read. So readers see what they would see there, in the same order.
    """

    def __init__(self) -> None:
        # Changed by the committer only, in single steps; in order of insertion.
        self._events: dict[int, Event] = {}

    def add(self, commits: Sequence[Commit], results: Sequence[int | Exception]) -> None:
        """Take in what was stored.

        Args:
            commits: appends, of sealed events.
            results: the position of the last event of each, or why it was not stored.
        """
        events = self._events
        for commit, last in zip(commits, results, strict=True):
            if isinstance(last, int):
                for position, event in enumerate(commit.events, last - len(commit.events) + 1):
                    if _size(event) <= KEPT_BYTES:
                        events[position] = event.at(position)
        excess = len(events) - KEPT
        if excess > 0:
            for position in list(events)[:excess]:
                events.pop(position, None)  # one left behind in a write may have come back

    def after(self, position: int, limit: int) -> list[Event]:
        """Return the events that follow a position without a hole, at most `limit`."""
        events = self._events
        found: list[Event] = []
        while len(found) < limit and (event := events.get(position + 1)) is not None:
            found.append(event)
            position += 1
        return found


def _size(event: tuple[Any, ...]) -> int:
    return len(event[_BODY]) + len(event[_HEADER])


class TailedLog:
    """An EventStore whose newest events are read from a tail, if it has them.

    Given a limit, `fold_all` may look at fewer events than there are, but never at none.

    Args:
        store: the truth.
        tail: what this kernel has stored last.
    """

    def __init__(self, store: EventStore, tail: Tail) -> None:
        self._store = store
        self._tail = tail
        self.append = store.append
        self.fold = store.fold
        self.last_position = store.last_position
        self.close = store.close

    def fold_all(
        self,
        function: Callable[[A, Event], A],
        initial: A,
        range: Range = Range(),  # noqa: B008 - immutable
        *,
        limit: int | None = None,
        types: Collection[str] | None = None,
        aggregate_types: Collection[str] | None = None,
    ) -> tuple[A, int]:
        """Reduce the log; see `EventStore.fold_all`."""
        if range.stop is None and range.start > 0 and limit is not None:
            events = self._tail.after(range.start - 1, limit)
            if events:
                return _reduce(function, initial, events, types, aggregate_types)
        return self._store.fold_all(
            function, initial, range, limit=limit, types=types, aggregate_types=aggregate_types
        )


def _reduce(
    function: Callable[[A, Event], A],
    initial: A,
    events: list[Event],
    types: Collection[str] | None,
    aggregate_types: Collection[str] | None,
) -> tuple[A, int]:
    accumulator = initial
    for event in events:
        (aggregate_type, _), _, name = event[:3]
        if (types is None or name in types) and (
            aggregate_types is None or aggregate_type in aggregate_types
        ):
            accumulator = function(accumulator, event)
    reached: Any = events[-1].position
    return accumulator, reached
