"""Reader: lines by their addresses, for one thread."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

from eskernel.errors import CorruptStore, StoreUnavailable
from eskernel.values import Event, StreamId
from eskernel_stores.file.line import read_events
from eskernel_stores.file.segment import Segment, Segments
from eskernel_stores.file.tagged import Tagger

_LEAST: Final = 4096
_MOST: Final = 1 << 18
_WORTH_IT: Final = 4


class Reader:
    """Reads ahead, the farther the more of what it read was wanted.

    Args:
        segments: the log's.
        unpack: what the events decode with.
    """

    def __init__(self, segments: Segments, unpack: Callable[[bytes], Any]) -> None:
        self._segments = segments
        self._unpack = unpack
        self._tagger = Tagger()
        self._chunk = b""
        self._start = 0  # address of the chunk's first byte
        self._size = _LEAST
        self._used = 0  # lines taken from the chunk

    def events_at(self, address: int, first: int, stream_id: StreamId | None = None) -> list[Event]:
        """Return the events of a line.

        Args:
            address: where the line begins.
            first: the sequence of its first event if the stream is given, else the position.
            stream_id: the stream it must belong to, if that is known.

        Raises:
            CorruptStore: the line is damaged, or another one.
            StoreUnavailable: the file cannot be read.
        """
        line = self.line_at(address)
        try:
            events = read_events(line, self._tagger, self._unpack)
            found = (events[0].stream_id, events[0].sequence) if stream_id else events[0].position
            if found != ((stream_id, first) if stream_id else first):
                raise ValueError(f"another append is in its place: {found}")
        except (ValueError, IndexError) as error:
            sequence = first if stream_id else None
            raise self.corrupt(address, error, stream_id, sequence) from error
        return events

    def line_at(self, address: int) -> bytes:
        """Return the line that begins at an address, damaged or not."""
        offset = address - self._start
        end = self._chunk.find(b"\n", offset) if 0 <= offset < len(self._chunk) else -1
        if end < 0:
            grown = self._size * 2 if self._used >= _WORTH_IT else _LEAST
            self._size = min(grown, _MOST)
            end, offset = self._fetch(address), 0
        self._used += 1
        return self._chunk[offset : end + 1]

    def _fetch(self, address: int) -> int:
        """Have the chunk begin at an address and hold a whole line; return where that ends."""
        segment = self._segments.holding(address)
        size = self._size
        while True:
            chunk = self._read(segment, address, size)
            end = chunk.find(b"\n")
            if end >= 0 or len(chunk) < size:
                self._chunk, self._start, self._used = chunk, address, 0
                return end if end >= 0 else len(chunk)
            size *= 2

    def _read(self, segment: Segment, address: int, size: int) -> bytes:
        try:
            handle = self._segments.handle(segment)
            return os.pread(handle.fd, size, address - segment.base)
        except OSError as error:
            raise StoreUnavailable(f"{segment.path} cannot be read: {error}") from error

    def corrupt(
        self,
        address: int,
        problem: object,
        stream_id: StreamId | None = None,
        sequence: int | None = None,
    ) -> CorruptStore:
        """Return the error that names file and line of an address."""
        segment = self._segments.holding(address)
        before = 1
        for start in range(segment.base, address, _MOST):
            part = self._read(segment, start, min(_MOST, address - start))
            before += part.count(b"\n")
        return CorruptStore(
            f"{segment.path}, line {before}, is damaged: {problem}; restore the file from a backup",
            stream_id,
            sequence,
        )
