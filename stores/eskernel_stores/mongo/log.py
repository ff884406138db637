"""Log: all events in the order of their positions, for readers who go on from there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator
from contextlib import closing
from typing import Any, Final, TypeVar

from eskernel.values import Event, Range
from eskernel_stores.bounds import bounds_of
from eskernel_stores.mongo.database import Database, Document
from eskernel_stores.mongo.documents import MARKER, end_of, events_of, filtered, is_of
from eskernel_stores.mongo.reading import Reading

A = TypeVar("A")

_KEPT: Final = 1000  # ends remembered


class Log:
    """The log, without the markers in it; may be used from many threads.

    Args:
        database: where it is.
        unpack: as for `Event.sealed`.
    """

    def __init__(self, database: Database, unpack: Callable[[bytes], Any]) -> None:
        self._reading = Reading(database, "_id", {})
        self._unpack = unpack
        # By the position at which an append is known to end, that up to which only markers follow.
        # Changed in single steps of the interpreter; one that is forgotten costs a query.
        self._ends: dict[int, int] = {}

    def fold_all(
        self,
        function: Callable[[A, Event], A],
        initial: A,
        range: Range,
        limit: int | None,
        types: Collection[str] | None,
        aggregate_types: Collection[str] | None,
    ) -> tuple[A, int]:
        """Reduce the log; see `EventStore.fold_all`."""
        accumulator = initial
        start, stop = bounds_of(range)
        reached = start - 1
        with closing(self._appends(start, stop, limit)) as appends:
            for append, begin, end in appends:
                if is_of(append, aggregate_types):
                    events = events_of(append, "_id", begin, end, self._unpack)
                    for event in filtered(events, types):
                        accumulator = function(accumulator, event)
                reached = min(end_of(append, "_id"), end - 1)
        return accumulator, reached

    def _appends(
        self, start: int, stop: int, limit: int | None
    ) -> Generator[tuple[Document, int, int]]:
        """Yield appends, and of which positions their events are wanted: from, and up to.

        Positions of markers do not count against the limit: for them it looks further.
        """
        reached = start - 1
        passed = self._ends.get(reached, 0)
        begins = passed > 0
        begin = max(passed + 1, start)
        end = stop if limit is None else min(stop, begin + limit)
        while begin < end:
            markers = 0
            with closing(self._reading.appends(begin, end, begins=begins)) as found:
                for document in found:
                    passed = end_of(document, "_id")
                    if MARKER in document:
                        markers += 1
                    else:
                        reached = passed
                        yield document, begin, end
            begin, begins = end, passed == end - 1
            end = end if limit is None else min(stop, end + markers)
        if passed >= start:  # else nothing is known of where an append ends
            self._note(reached, passed)

    def _note(self, reached: int, passed: int) -> None:
        if len(self._ends) >= _KEPT:
            self._ends.clear()
        self._ends[reached] = passed
