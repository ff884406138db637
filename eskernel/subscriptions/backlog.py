"""Backlog: events read from a log, and what became of them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from eskernel.values import Event


class Reader(threading.local):
    """Stands for the calling thread; unlike its number, never for a later one."""

    def __init__(self) -> None:
        self.token = object()


class Backlog:
    """The events a feed has read and not handed out, and those its readers deal with.

    Every method may be called from many threads, and be interrupted by an exception at any point:
    an event is in the backlog, or with a reader, or for a moment in both, and never in none.

    Args:
        position: the last position that counts as dealt with from the beginning.
    """

    def __init__(self, position: int) -> None:
        self._lock = threading.Lock()  # guards both
        # In order, and the last position looked at: one field, so that both change in one step.
        self._read: tuple[deque[Event], int] = (deque(), position)
        self._unsettled: dict[object, Event] = {}  # by reader

    def __bool__(self) -> bool:
        return bool(self._read[0])

    @property
    def reached(self) -> int:
        """The last position looked at."""
        return self._read[1]

    @property
    def position(self) -> int:
        """The position before the first event that is left; `reached` if none is."""
        with self._lock:
            return self._position()

    @property
    def acknowledged(self) -> int:
        """The same, if events that a reader still deals with counted as left."""
        with self._lock:
            return min([self._position(), *(_at(one) - 1 for one in self._unsettled.values())])

    def add(self, events: Sequence[Event], reached: int) -> None:
        """Put the events of the next positions behind those that are left.

        Args:
            events: in order; those nobody wants are not among them.
            reached: the last position looked at.
        """
        with self._lock:
            self._read = (deque([*self._read[0], *events]), reached)

    def settle(self, reader: object) -> None:
        """Note that a reader has dealt with what it took."""
        with self._lock:
            self._unsettled.pop(reader, None)

    def take(self, reader: object) -> Event | None:
        """Return the first event, which the reader now deals with; None if there is none."""
        with self._lock:
            events, _ = self._read
            if not events:
                return None
            event = self._unsettled[reader] = events[0]
            events.popleft()
            return event

    def put_back(self, reader: object) -> None:
        """Undo a `take`, at whatever point it or what follows it was interrupted."""
        with self._lock:
            event = self._unsettled.get(reader)
            events, reached = self._read
            if event is not None and not any(event is other for other in events):
                self._read = (deque(sorted([event, *events], key=_at)), reached)
            self._unsettled.pop(reader, None)

    def _position(self) -> int:
        events, reached = self._read
        return _at(events[0]) - 1 if events else reached


def _at(event: Event) -> int:
    """Return a stored event's position."""
    return event.position or 0
