"""Reading a log page by page, so that no fold of one store is open while the other is used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from eskernel.contracts import EventStore
from eskernel.values import Event, Range

MAX_BYTES: Final = 4 << 20
"""Payload bytes after which a page, a commit or a durable write is full, however few its events."""


class _Full(Exception):
    """Ends a fold whose page is full; a store passes on what a reader raises."""


def events_of(store: EventStore, after: int, until: int, limit: int) -> Iterator[Event]:
    """Yield the events of a log in position order.

    Args:
        store: whose log.
        after: position of the last event not wanted; 0 for the beginning.
        until: position of the last event wanted.
        limit: events of a page.
    """
    while after < until:
        events, reached = _page(store, Range(after + 1, until + 1), limit)
        yield from events
        if reached <= after:
            return
        after = reached


def size_of(event: Event) -> int:
    """Return the bytes of an event's payload and metadata; 0 if it is open, as no store's is."""
    return 0 if event.unpack is None else len(event.body) + len(event.header)


def _page(store: EventStore, range: Range, limit: int) -> tuple[list[Event], int]:
    """Return events and the position reached."""
    events: list[Event] = []
    size = 0

    def collect(_: None, event: Event) -> None:
        nonlocal size
        events.append(event)
        size += size_of(event)
        if size >= MAX_BYTES:
            raise _Full

    try:
        return events, store.fold_all(collect, None, range, limit=limit)[1]
    except _Full:
        return events, events[-1].position or 0
