"""Folding: from messages to events, in order and without holes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

from eskernel.errors import CorruptStore
from eskernel.values import Event, StreamId
from eskernel_stores.jetstream.log.appends import INDEX_BITS, Appends, Body, Placed, read
from eskernel_stores.jetstream.log.reading import LogRow, Row
from eskernel_stores.jetstream.subjects import from_token

A = TypeVar("A")
_new = tuple.__new__

Unpack = Callable[[bytes], Any]


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
            stream_id = self._streams.get(subject)
            if stream_id is None:
                stream_id = _stream_of(message, subject, self._prefix)
                self._streams[subject] = stream_id
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

    def is_past(self, row: LogRow) -> bool:
        """Return whether the log's last message, if it can be read, is before the range."""
        message, payload, _ = row
        with suppress(ValueError):  # whoever comes to it is told
            placed = read(payload, message)
            return placed.is_end and placed.position + placed.count <= self._start
        return False

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


def end_of(row: LogRow, prefix: str) -> int:
    """Return the position of the last event up to a message; 0 if that completes no append.

    Args:
        row: the message.
        prefix: what subjects begin with.

    Raises:
        CorruptStore: it cannot be read.
    """
    message, payload, subject = row
    try:
        placed = read(payload, message)
    except ValueError as error:
        raise _unreadable(message, _stream_of(message, subject, prefix), error) from error
    return placed.position + placed.count - 1 if placed.is_end else 0


def _stream_of(message: int, subject: str, prefix: str) -> StreamId:
    try:
        if not subject.startswith(prefix):
            raise ValueError(f"it does not begin with {prefix}")
        aggregate_type, aggregate_id = subject.removeprefix(prefix).split(".")
        return from_token(aggregate_type), from_token(aggregate_id)
    except ValueError as error:
        raise CorruptStore(
            f"the subject {subject} of message {message} is no stream's: {error}"
        ) from error


def _unreadable(message: int, stream_id: StreamId, error: ValueError) -> CorruptStore:
    return CorruptStore(
        f"message {message} of stream {stream_id} cannot be read: {error}", stream_id
    )
