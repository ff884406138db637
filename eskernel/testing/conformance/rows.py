"""Rows in place of events, for stores that append at once."""

from __future__ import annotations

from typing import Any, cast

from eskernel.contracts import EventStore
from eskernel.testing.conformance.tools import CODEC, STREAM, made, require_equal, stream_of


def an_immediate_store_takes_rows_in_place_of_events(store: EventStore) -> None:
    """Rows, which are plain tuples, come back as the events they stand for."""
    events = made(STREAM, 0, "a", {"b": 1})
    rows: Any = tuple(tuple(event.sealed(CODEC.pack, CODEC.unpack)) for event in events)
    position = store.append(STREAM, cast("Any", rows), expected_sequence=0)
    expected = [event.at(position - 1 + index) for index, event in enumerate(events)]
    require_equal(stream_of(store, STREAM), expected, "events appended as rows")


CHECKS = (an_immediate_store_takes_rows_in_place_of_events,)
