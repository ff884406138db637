"""Appends as documents, and back.

An append is one document, so the server stores it whole or not at all, and `_id`, the position of
its first event, orders the log. Payloads and metadata are msgpack; the rest can be read by people.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import bson
from bson import Int64

from eskernel.errors import CorruptStore, NotStorable
from eskernel.values import Event, Row, StreamId
from eskernel_stores.batching import Join, Prepared
from eskernel_stores.checking import check_event
from eskernel_stores.mongo.database import Document

A = TypeVar("A")
_new = tuple.__new__

MARKER: Final = "marker"
"""The field that only markers have: the names of leases that are under new epochs from there on."""

_NO_TAGS: Final = ()
_NIL: Final = b"\xc0"


class Sized(NamedTuple):
    """A document to insert.

    Attributes:
        document: the document; its `_id` is set when it is sent.
        size: its bytes.
    """

    document: Document
    size: int


def to_part(row: Row, append_id: bytes) -> Document:  # noqa: ARG001 - is the whole append's
    """Return a sealed event as a part of its append's document.

    Raises:
        NotStorable: a text has NUL or a lone surrogate, or a number is too large.
    """
    check_event(row)
    _, _, name, body, header, tags, time, by, _, _ = row
    part: Document = {"type": name, "payload": body, "timestamp": time}
    if header:
        part["metadata"] = header
    if tags:
        part["tags"] = list(tags)
    if by is not None:
        part["command_id"] = by
    return part


def joining(most: int) -> Join:
    """Return the function that makes a commit a document; see `batching.Join`.

    Args:
        most: the bytes of the largest document that the servers take; the function raises
            NotStorable for a larger one.
    """

    def join(commit: Prepared) -> Sized:
        document = {
            "_id": Int64(0),
            **of_stream(commit.stream_id),
            "sequence": Int64(commit.expected + 1),
            "count": len(commit.events),
            "append_id": commit.append_id,
            "events": commit.events,
        }
        size = len(bson.encode(document))
        if size > most:
            raise NotStorable(
                "events",
                f"in one append they make a document of {size} bytes, and MongoDB takes {most}",
            )
        return Sized(document, size)

    return join


def marker(position: int, names: Sequence[str]) -> Document:
    """Return the document that takes a position for leases; see `guards`.

    It is an append of one event of a stream of its own, for those who do not know of markers.

    Args:
        position: its place in the log.
        names: of the leases.
    """
    taken = {"type": "leases_taken", "payload": _NIL, "timestamp": time.time_ns() // 1_000_000}
    return {
        "_id": Int64(position),
        **of_stream(("", os.urandom(16).hex())),
        "sequence": Int64(1),
        "count": 1,
        "append_id": os.urandom(16),
        "events": [taken],
        MARKER: [*names],
    }


def end_of(document: Document, key: str = "sequence") -> int:
    """Return the number of an append's last event.

    Args:
        document: has `count`.
        key: `sequence`, or `_id` for the position.

    Raises:
        CorruptStore: the document is damaged.
    """
    try:
        end = document[key] + document["count"] - 1
        if document["count"] < 1 or not isinstance(end, int):
            raise ValueError(f"it has {document['count']!r} events")
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(document, error) from error
    return end


def events_of(
    document: Document, key: str, start: int, stop: int, unpack: Callable[[bytes], Any]
) -> list[Event]:
    """Return an append's events of some numbers.

    Args:
        document: the append.
        key: `sequence`, or `_id` if the numbers are positions.
        start: the first number wanted.
        stop: the one after the last.
        unpack: as for `Event.sealed`.

    Raises:
        CorruptStore: the document is damaged.
    """
    # This is where a reader spends its time, so nothing is called for each event.
    try:
        stream_id = (document["aggregate_type"], document["aggregate_id"])
        parts, count = document["events"], document["count"]
        if type(parts) is not list or len(parts) != count:
            raise ValueError(f"it should have {count!r} events")
        begin = max(start - document[key], 0)
        end = min(stop - document[key], count)
        sequence, position = document["sequence"] + begin, document["_id"] + begin
        events: list[Event] = []
        for index, part in enumerate(parts[begin:end]):
            get = part.get
            tags = get("tags")
            fields = (
                *(stream_id, sequence + index, part["type"], part["payload"]),
                get("metadata", b""),
                _NO_TAGS if tags is None else tuple(tags),
                int(part["timestamp"]),
                *(get("command_id"), position + index, unpack),
            )
            events.append(_new(Event, fields))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise damaged(document, error) from error
    return events


def damaged(document: Document, error: Exception) -> CorruptStore:
    """Return the error that names a damaged document."""
    stream_id = stream_of(document)
    sequence = document.get("sequence")
    return CorruptStore(
        f"the append at position {document.get('_id')}, of event {sequence} of stream {stream_id}, "
        f"is damaged: {type(error).__name__}: {error}; restore a backup",
        stream_id,
        int(sequence) if isinstance(sequence, int) else None,
    )


def of_stream(stream_id: StreamId) -> dict[str, str]:
    """Return the query for the appends of a stream."""
    aggregate_type, aggregate_id = stream_id
    return {"aggregate_type": aggregate_type, "aggregate_id": aggregate_id}


def stream_of(document: Document) -> StreamId | None:
    """Return the stream of an append, if that can be read."""
    names = document.get("aggregate_type"), document.get("aggregate_id")
    kind, name = names
    return (kind, name) if isinstance(kind, str) and isinstance(name, str) else None


def is_of(document: Document, aggregate_types: Collection[str] | None) -> bool:
    """Return whether an append's stream is of one of the types asked for.

    Raises:
        CorruptStore: the document does not say.
    """
    if aggregate_types is None:
        return True
    kind = document.get("aggregate_type")
    if not isinstance(kind, str):
        raise damaged(document, TypeError(f"its aggregate type is {kind!r}"))
    return kind in aggregate_types


def filtered(events: list[Event], types: Collection[str] | None) -> list[Event]:
    """Return the events that are of the types asked for; all of them for None."""
    return events if types is None else [event for event in events if event[2] in types]
