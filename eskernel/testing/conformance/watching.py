"""Readers while others write: nothing half done, nothing missed, nothing out of order."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from eskernel.contracts import EventStore
from eskernel.testing.conformance.races import APPENDS, SIZE, sequences, write
from eskernel.testing.conformance.threads import at_once
from eskernel.testing.conformance.tools import (
    STREAM,
    add,
    log_of,
    page_of,
    require,
    require_equal,
    stream_of,
    with_event,
)
from eskernel.values import Event, Range, StreamId


def readers_of_a_growing_stream_see_whole_appends(store: EventStore) -> None:
    """No hole, no part of an append, nothing taken back, and all that was acknowledged before."""
    _grow(store, STREAM, 0)


def readers_of_a_growing_stream_see_whole_appends_across_pages(store: EventStore) -> None:
    """Also where the end of a page lies within an append."""
    for begin in (960, 1980):
        stream_id = ("order", str(begin))
        add(store, stream_id, 0, *range(begin))
        _grow(store, stream_id, begin)


def _grow(store: EventStore, stream_id: StreamId, begin: int) -> None:
    acknowledged = [begin]

    def watch(running: Callable[[], bool]) -> None:
        seen = begin
        while running():
            told = max(seen, acknowledged[0])
            found = [event.sequence for event in stream_of(store, stream_id)]
            require_equal(found, sequences(len(found) // SIZE), "sequences")
            require(len(found) >= told, f"{told} were there, then {len(found)}")
            seen = len(found)

    def tell(last: int) -> None:
        acknowledged[0] = last

    at_once([partial(write, store, stream_id, tell, begin)], [watch] * 3)


def readers_of_the_growing_log_miss_nothing(store: EventStore) -> None:
    """Who pages on from the last position reached meets every event exactly once, in order."""

    def page(limit: int | None, running: Callable[[], bool]) -> list[Event]:
        found: list[Event] = []
        reached = 0
        while (more := running()) or reached < store.last_position():
            found, last = store.fold_all(with_event, found, Range(reached + 1), limit=limit)
            require(last >= reached, f"after {reached} a page reached {last}")
            require(more or last > reached, f"no progress after {reached}, at rest")
            if limit is None:
                require_equal(len(found) % SIZE, 0, f"parts of an append seen up to {last}")
            reached = last
        return found

    writers = [partial(write, store, ("order", str(number))) for number in range(4)]
    readers = [partial(page, limit) for limit in (None, 1, 7)]
    for found in at_once(writers, [*readers, partial(_watch_position, store)])[len(writers) : -1]:
        require_equal(found, log_of(store), "what a paging reader saw")
    require_equal(len(log_of(store)), 4 * APPENDS * SIZE, "events in the log")


def _watch_position(store: EventStore, running: Callable[[], bool]) -> None:
    """Require that the last position never goes back and that everything up to it is readable."""
    before = 0
    while running():
        last = store.last_position()
        require(last >= before, f"the last position went back from {before} to {last}")
        events, reached = page_of(store, Range(before + 1, last + 1))
        require_equal(reached, last, "the position reached when reading up to the last position")
        require(last == before or bool(events), f"no events from {before + 1} to {last}")
        before = last


CHECKS = (
    readers_of_a_growing_stream_see_whole_appends,
    readers_of_a_growing_stream_see_whole_appends_across_pages,
    readers_of_the_growing_log_miss_nothing,
)
