"""Events come back exactly as they were given, under the names they were given."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from eskernel.codec import Codec
from eskernel.contracts import EventStore
from eskernel.testing.conformance.samples import ALIKE, IDENTIFIERS, PAYLOADS
from eskernel.testing.conformance.tools import (
    CODEC,
    STREAM,
    add,
    is_same,
    log_of,
    made,
    page_of,
    require,
    require_equal,
    stream_of,
)
from eskernel.values import Event, StreamId


@dataclass(frozen=True)
class _Declared:
    amount: Any


def payloads_come_back_exactly(store: EventStore) -> None:
    """In value, type, key order, digits and time zone; given open as given sealed."""
    events = made(STREAM, 0, *PAYLOADS)
    store.append(STREAM, events, expected_sequence=0)
    sealed = [
        event.sealed(CODEC.pack, CODEC.unpack) for event in made(STREAM, len(events), *PAYLOADS)
    ]
    store.append(STREAM, sealed, expected_sequence=len(events))
    for found in (stream_of(store, STREAM), log_of(store)):
        for event, payload in zip(found, PAYLOADS * 2, strict=True):
            what = f"payload {payload!r} came back as {event.payload!r}"
            require(is_same(event.payload, payload), what)


def everything_else_comes_back_exactly(store: EventStore) -> None:
    """Type, metadata, tags, timestamp and command id, with and without a value."""
    metadata = {
        "user": ("Ada", {1, 2}),
        "": None,
        "\U0001f600": {"since": date(2024, 2, 29), 1: b"\0"},
    }
    tags = ("vip", "", "\U0001f600 'quoted'", "vip", "x" * 300)
    given = [
        Event(STREAM, 1, "happened", None),
        Event(STREAM, 2, "\U0001f600 Happened ", 1, metadata, tags, 1_700_000_000_123, None, "c-1"),
        Event(STREAM, 3, "x" * 255, 2, {}, ("one",), 2**53 + 1, None, "\U0001f600" * 255),
        Event(STREAM, 4, "a\nb", 3, {"k": 2**70}, (), 1, None, "'; --"),
    ]
    last = store.append(STREAM, given, expected_sequence=0)
    for found in (stream_of(store, STREAM), log_of(store)):
        for event, original in zip(found, given, strict=True):
            placed = original.at(last - 4 + original.sequence)
            require_equal(event, placed, "the event")
            require(type(event.tags) is tuple, f"tags came back as {event.tags!r}")
            require_equal(type(event.stream_id), tuple, "the type of the stream id")
            require_equal(hash(event), hash(placed), "the event's hash")
            same = is_same(dict(event.metadata), dict(original.metadata))
            require(same, f"metadata came back as {event.metadata!r}")


def declared_types_are_read_with_the_readers_codec(store: EventStore) -> None:
    """A store neither decodes what it keeps nor needs to know its types."""
    codec = Codec([_Declared])
    given = Event(STREAM, 1, "happened", _Declared((1, 2)), {"by": _Declared(None)})
    store.append(STREAM, [given.sealed(codec.pack, codec.unpack)], expected_sequence=0)
    for found in (stream_of(store, STREAM), log_of(store)):
        event = found[0].read_with(codec.unpack)
        require_equal(event.payload, given.payload, "a declared payload")
        require_equal(dict(event.metadata), given.metadata, "declared metadata")


def streams_of_any_names_stay_apart(store: EventStore) -> None:
    """Paths, wildcards, quotes, case, blanks, unicode forms, 255 characters: all are just names."""
    streams: list[StreamId] = [("t", name) for name in IDENTIFIERS]
    streams += [(name, "t") for name in IDENTIFIERS]
    streams = list(dict.fromkeys([*streams, *ALIKE]))
    for number, stream_id in enumerate(streams):
        add(store, stream_id, 0, number)
    for number, stream_id in enumerate(streams):
        add(store, stream_id, 1, -number)
    for number, stream_id in enumerate(streams):
        found = [(event.stream_id, event.payload) for event in stream_of(store, stream_id)]
        expected = [(stream_id, number), (stream_id, -number)]
        require_equal(found, expected, f"events of {stream_id!a}")


def filters_take_names_literally(store: EventStore) -> None:
    """An event type or aggregate type asked for is that one, not one like it."""
    for name in IDENTIFIERS:
        add(store, (name, "1"), 0, name, type=name)
    for name in IDENTIFIERS:
        by_type, _ = page_of(store, types={name})
        by_aggregate, _ = page_of(store, aggregate_types={name})
        for found in (by_type, by_aggregate):
            require_equal([event.payload for event in found], [name], f"events of {name!a}")


CHECKS = (
    payloads_come_back_exactly,
    everything_else_comes_back_exactly,
    declared_types_are_read_with_the_readers_codec,
    streams_of_any_names_stay_apart,
    filters_take_names_literally,
)
