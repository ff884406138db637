"""Folding: from messages to events, in order and without holes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, TypeVar

from eskernel.errors import CorruptStore
from eskernel.values import Event, StreamId
from eskernel_stores.jetstream.appends import INDEX_BITS, Body, Placed, joined, read
from eskernel_stores.jetstream.reading import LogRow, Row
from eskernel_stores.jetstream.subjects import from_token

A = TypeVar("A")
_new = tuple.__new__

Unpack = Callable[[bytes], Any]


class Appends:
    """Puts the messages of one subject or of a log together to appends, page after page.

    Attributes:
        pieces: of an append of which more messages are to come.
    """

    def __init__(self) -> None:
        self.pieces: list[Placed] = []

    def take(self, placed: Placed) -> Body | None:
        """Return the events of the append that a message completes, or None.

        Pieces without their beginning are passed over: reading began amidst their append.

        Raises:
            ValueError: the append is damaged.
        """
        if placed.chunks == 1 and not self.pieces:
            return placed.body  # type: ignore[return-value]
        if placed.chunk != len(self.pieces):
            if self.pieces or placed.chunk == 0:
                raise ValueError(f"piece {len(self.pieces)} of an append is missing")
            return None
        self.pieces.append(placed)
        if not placed.is_end:
            return None
        pieces, self.pieces = self.pieces, []
        return joined(pieces)


class StreamFold:
    """Reduces the messages of one stream.

    Args:
        stream_id: whose.
        start: the first sequence wanted; messages may begin before it.
        stop: the sequence after the last one wanted.
        unpack: of the events.

    Attributes:
        next: the sequence that comes next, at least `start`.
    """

    def __init__(self, stream_id: StreamId, start: int, stop: int, unpack: Unpack) -> None:
        self._stream_id = stream_id
        self._stop = stop
        self._unpack = unpack
        self._appends = Appends()
        self.next = start

    def fold(self, function: Callable[[A, Event], A], accumulator: A, rows: Iterable[Row]) -> A:
        """Reduce a page, as `functools.reduce` would reduce its events.

        Raises:
            CorruptStore: a message cannot be read, or events are missing; those before have been
                handed over.
        """
        for message, payload in rows:
            try:
                placed = read(payload, message)
                body = self._appends.take(placed)
            except ValueError as error:
                raise self._corrupt(message, error) from error
            if body is not None and placed.last >= self.next:
                accumulator = self.fold_append(function, accumulator, placed, body)
            if self.next >= self._stop:
                break
        return accumulator

    def fold_append(
        self, function: Callable[[A, Event], A], accumulator: A, placed: Placed, body: Body
    ) -> A:
        """Reduce the events of one append; raises as `fold`."""
        # This is where rehydration spends its time, so nothing of ours is called for each event.
        stream_id, unpack, start, stop = self._stream_id, self._unpack, self.next, self._stop
        sequence, position = placed.first, placed.position
        if sequence > start:
            raise self._missing(placed.message, sequence)
        for name, packed, header, tags, time, by in body:
            if start <= sequence < stop:
                fields = (
                    *(stream_id, sequence, name, packed, header, tags, time, by),
                    *(position, unpack),
                )
                accumulator = function(accumulator, _new(Event, fields))
            sequence += 1
            position += 1
        self.next = sequence
        return accumulator

    def _corrupt(self, message: int, error: ValueError) -> CorruptStore:
        return CorruptStore(
            f"event {self.next} of stream {self._stream_id} cannot be read, "
            f"in message {message}: {error}",
            self._stream_id,
            self.next,
        )

    def _missing(self, message: int, sequence: int) -> CorruptStore:
        return CorruptStore(
            f"event {self.next} of stream {self._stream_id} is missing, though event {sequence} "
            f"is there, in message {message}; restore a backup",
            self._stream_id,
            self.next,
        )


class LogFold:
    """Reduces the messages of the log.

    Args:
        prefix: what subjects begin with.
        bounds: the first position wanted, and the one after the last.
        limit: of events to look at.
        types: only events of these types; None for all.
        aggregate_types: only events of these aggregate types; None for all.
        unpack: of the events.

    Attributes:
        message: the number from which to read on.
        reached: the last position looked at.
        left: how many more events may be looked at; 0 when the range is exhausted.
    """

    def __init__(
        self,
        prefix: str,
        bounds: tuple[int, int],
        limit: int,
        types: Collection[str] | None,
        aggregate_types: Collection[str] | None,
        unpack: Unpack,
    ) -> None:
        self._prefix = prefix
        self._start, self._stop = bounds
        self._types = types
        self._aggregate_types = aggregate_types
        self._unpack = unpack
        self._appends = Appends()
        self._streams: dict[str, StreamId] = {}  # by subject
        self.message = max(self._start >> INDEX_BITS, 1)
        self.reached = self._start - 1
        self.left = limit

    def fold(self, function: Callable[[A, Event], A], accumulator: A, rows: Iterable[LogRow]) -> A:
        """Reduce a page, as `functools.reduce` would reduce its events.

        Raises:
            CorruptStore: a message cannot be read; those before have been handed over.
        """
        for message, payload, subject in rows:
            stream_id = self._streams.get(subject) or self._read_subject(message, subject)
            try:
                placed = read(payload, message)
                body = self._appends.take(placed)
            except ValueError as error:
                raise _unreadable(message, stream_id, error) from error
            self.message = message + 1
            if body is None:
                continue
            for event in self._looked_at(stream_id, placed, body):
                accumulator = function(accumulator, event)
            if not self.left:
                break
        return accumulator

    def _looked_at(self, stream_id: StreamId, placed: Placed, body: Body) -> Iterator[Event]:
        """Return the events of an append that are wanted."""
        types, kinds = self._types, self._aggregate_types
        is_kind = kinds is None or stream_id[0] in kinds
        sequence, position = placed.first - 1, placed.position - 1
        for name, packed, header, tags, time, by in body:
            sequence += 1
            position += 1
            if position < self._start:
                continue
            if position >= self._stop:
                self.left = 0
            if not self.left:
                return
            self.left -= 1
            self.reached = position
            if is_kind and (types is None or name in types):
                fields = (
                    *(stream_id, sequence, name, packed, header, tags, time, by),
                    *(position, self._unpack),
                )
                yield _new(Event, fields)

    def _read_subject(self, message: int, subject: str) -> StreamId:
        try:
            if not subject.startswith(self._prefix):
                raise ValueError(f"it begins with no {self._prefix}")
            kind, name = subject.removeprefix(self._prefix).split(".")
            stream_id = (from_token(kind), from_token(name))
        except ValueError as error:
            raise CorruptStore(
                f"the subject {subject} of message {message} is no stream's: {error}"
            ) from error
        self._streams[subject] = stream_id
        return stream_id


def end_of(row: LogRow) -> int:
    """Return the position of the last event up to a message, which completes an append or is 0.

    Raises:
        CorruptStore: it cannot be read.
    """
    message, payload, _ = row
    try:
        placed = read(payload, message)
    except ValueError as error:
        raise _unreadable(message, None, error) from error
    return placed.position + placed.count - 1 if placed.is_end else 0


def _unreadable(message: int, stream_id: StreamId | None, error: ValueError) -> CorruptStore:
    whose = f" of stream {stream_id}" if stream_id else ""
    return CorruptStore(f"message {message}{whose} cannot be read: {error}", stream_id)
