"""Comparing: two logs in step, event by event, and each stream with its part of the log."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from itertools import zip_longest
from typing import Any, Literal, NamedTuple, NoReturn

from eskernel.contracts import EventStore
from eskernel.errors import CorruptStore
from eskernel.values import Event, Range, StreamId
from eskernel_stores.copying.fingerprints import Fingerprints, named
from eskernel_stores.copying.progress import STEP, Advance
from eskernel_stores.copying.reading import events_of

Chain = tuple[int, bytes]
"""A stream's last sequence, and a digest of its events."""
_EMPTY: Chain = (0, b"")


class Different(Exception):
    """Two logs differ; the message says in what.

    Attributes:
        event: the first event of the source that differs; None when its log ends before.
        other: the one of the target in its place; None when its log ends before.
    """

    def __init__(self, number: int, event: Event | None, other: Event | None) -> None:
        super().__init__(_difference(number, event, other))
        self.event = event
        self.other = other


class Survey(NamedTuple):
    """What was found in the source, and how much of it in the target.

    Attributes:
        events: in the source.
        streams: their chains, in order of appearance.
        digest: of the source's log, as 64 hexadecimal digits.
        shared: events the target has too.
        shared_until: the last such event's position in the source; 0 if there is none.
    """

    events: int
    streams: Mapping[StreamId, Chain]
    digest: str
    shared: int
    shared_until: int


def survey(
    source: EventStore,
    target: EventStore,
    until: int,
    limit: int,
    advance: Advance,
    *,
    whole: bool = False,
) -> Survey:
    """Fold both logs in step.

    Args:
        source: read up to a position.
        target: read to its end.
        until: that position.
        limit: events read at once.
        advance: told how far it is.
        whole: expect all of the source in the target, not just a beginning.

    Raises:
        Different: it is not there, or something else is.
        InvalidDomain: an event holds a type that is not declared to its store.
        CorruptStore: an event cannot be read, or is missing from the source.
    """
    ours, theirs, log = Fingerprints(), Fingerprints(), sha256()
    streams: dict[StreamId, Chain] = {}
    events = shared = shared_until = reached = 0
    copied = events_of(target, 0, target.last_position(), limit)
    for event, other in zip_longest(events_of(source, 0, until, limit), copied):
        if event is None:
            raise Different(events + 1, None, other)
        events, reached = events + 1, event.position or 0
        digest = ours.of(event)
        if other is None and whole:
            raise Different(events, event, None)
        if other is not None:
            if theirs.of(other) != digest:
                raise Different(events, event, other)
            shared, shared_until = events, reached
        log.update(digest)
        last = streams.get(event.stream_id, _EMPTY)
        if event.sequence != last[0] + 1:
            _has_a_hole(event, last[0] + 1)
        streams[event.stream_id] = _longer(last, event, digest)
        if events % STEP == 0:
            advance(reached / until)
    if reached != until:
        raise CorruptStore(
            f"the source's log ends at position {reached}, though its last event is at {until}; "
            "restore a backup of the source"
        )
    return Survey(events, streams, log.hexdigest(), shared, shared_until)


def check_streams(
    side: Literal["source", "target"],
    store: EventStore,
    streams: Mapping[StreamId, Chain],
    advance: Advance,
) -> None:
    """Fold each stream by itself, as a kernel does, and compare with what the log has of it.

    Args:
        side: which store it is; a source may have grown since its log was read.
        store: whose streams.
        streams: their chains, from the log.
        advance: told how far it is.

    Raises:
        CorruptStore: a stream reads otherwise by itself than in the log.
    """
    prints = Fingerprints()

    def lengthen(chain: Chain, event: Event) -> Chain:
        return _longer(chain, event, prints.of(event))

    for number, (stream_id, chain) in enumerate(streams.items(), 1):
        wanted = Range(1, chain[0] + 1 if side == "source" else None)
        if store.fold(stream_id, lengthen, _EMPTY, wanted) != chain:
            _reads_otherwise(side, store, stream_id, wanted, prints)
        if number % STEP == 0:
            advance(number / len(streams))


def _longer(chain: Chain, event: Event, fingerprint: bytes) -> Chain:
    return event.sequence, sha256(chain[1] + fingerprint).digest()


def _has_a_hole(event: Event, sequence: int) -> NoReturn:
    raise CorruptStore(
        f"event {sequence} of stream {event.stream_id} is missing from the source's log, though "
        f"event {event.sequence} is there; restore a backup of the source",
        event.stream_id,
        sequence,
    )


def _reads_otherwise(
    side: str, store: EventStore, stream_id: StreamId, range: Range, prints: Fingerprints
) -> NoReturn:
    """Raise the error that names the first event that differs."""

    def collect(found: list[bytes], event: Event) -> list[bytes]:
        if event.stream_id == stream_id and range.contains(event.sequence):
            found.append(prints.of(event))
        return found

    alone: list[bytes] = store.fold(stream_id, collect, [], range)
    in_log: list[bytes] = []
    store.fold_all(collect, in_log, aggregate_types={stream_id[0]})
    pairs = enumerate(zip_longest(alone, in_log), 1)
    sequence = next((number for number, (one, other) in pairs if one != other), None)
    raise CorruptStore(
        f"stream {stream_id} of the {side} reads otherwise by itself than in the log, first at "
        f"sequence {sequence}; do not use the copy",
        stream_id,
        sequence,
    )


def _difference(number: int, event: Event | None, other: Event | None) -> str:
    """Return in words how the target's log differs from the source's at an event."""
    if event is None:
        more = "something" if other is None else named(other)
        return f"the source's log ends before event {number}, where the target has {more}"
    if other is None:
        return f"the target's log ends before event {number}, where the source has {named(event)}"
    if event[:2] != other[:2]:
        here, there = named(event), named(other)
        return f"event {number} of the log is {here} in the source, but {there} in the target"
    pairs = zip(_parts_of(event).items(), _parts_of(other).values(), strict=True)
    parts = ", ".join(name for (name, one), another in pairs if one != another)
    return f"event {number} of the log, {named(event)}, has another {parts} in the target"


def _parts_of(event: Event) -> dict[str, Any]:
    pack = Fingerprints().pack
    return {
        "type": event.type,
        "payload": pack(event.payload, "payload"),
        "metadata": pack(dict(event.metadata), "metadata"),
        "tags": event.tags,
        "timestamp": event.timestamp,
        "command id": event.command_id,
    }
