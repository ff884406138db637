"""Index: where in the log each append is.

An address is an offset in the log as if its segments lay end to end. An index costs 32 bytes an
append, and a dict entry with an array a stream. It only grows, in steps that the interpreter
makes at once, so readers need no lock: they take what was published; see `writer`.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

from eskernel.values import StreamId

_SLICE: Final = 512
_pair = struct.Struct("=QQ").pack


class Index:
    """An index of the whole log, or of one segment.

    Attributes:
        streams: by stream, two numbers for each append: its last sequence, and its address.
        positions: by append, the position of its first event.
        addresses: by append.
    """

    __slots__ = ("addresses", "positions", "streams")

    def __init__(self) -> None:
        self.streams: dict[StreamId, array[int]] = {}
        self.positions: array[int] = array("Q")
        self.addresses: array[int] = array("Q")

    def add(self, stream_id: StreamId, last_sequence: int, position: int, address: int) -> None:
        """Enter an append at the log's end; entering it again, after an interruption, is harmless.

        Args:
            stream_id: the stream.
            last_sequence: of its last event.
            position: of its first event.
            address: of its line.
        """
        appends = self.streams.get(stream_id)
        if appends is None:
            appends = self.streams.setdefault(stream_id, array("Q"))
        if not appends or appends[-1] < address:
            appends.frombytes(_pair(last_sequence, address))
        if not self.positions or self.positions[-1] < position:
            self.positions.append(position)
        if not self.addresses or self.addresses[-1] < address:
            self.addresses.append(address)

    def extend(self, later: Index) -> None:
        """Enter all appends of an index of what comes after."""
        for stream_id, appends in later.streams.items():
            if (known := self.streams.get(stream_id)) is None:
                self.streams[stream_id] = appends[:]
            else:
                known.extend(appends)
        self.positions.extend(later.positions)
        self.addresses.extend(later.addresses)

    def last_sequence(self, stream_id: StreamId) -> int:
        """Return the sequence a stream is at; 0 for an unknown one."""
        appends = self.streams.get(stream_id)
        return appends[-2] if appends else 0

    def append_with(self, stream_id: StreamId, sequence: int) -> tuple[int, int] | None:
        """Return the first sequence and the address of the append that holds a sequence."""
        appends = self.streams.get(stream_id, ())
        at = _first_reaching(appends, sequence)
        if at * 2 >= len(appends):
            return None
        return (appends[at * 2 - 2] if at else 0) + 1, appends[at * 2 + 1]

    def lines_of(
        self, stream_id: StreamId, start: int, stop: int | None, end: int
    ) -> Iterator[tuple[int, int]]:
        """Yield the first sequence and the address of a stream's appends, in order.

        Args:
            stream_id: the stream.
            start: first sequence wanted; its append may begin before it.
            stop: the sequence behind the last one wanted; None for all.
            end: appends from this address on are not yet there.
        """
        appends = self.streams.get(stream_id, ())
        first = _first_reaching(appends, start)
        before = appends[first * 2 - 2] if first else 0
        for at in range(first * 2, len(appends), 2 * _SLICE):
            part = appends[at : at + 2 * _SLICE]
            for last, address in zip(part[::2], part[1::2], strict=True):
                if address >= end or (stop is not None and before + 1 >= stop):
                    return
                yield before + 1, address
                before = last


def _first_reaching(appends: array[int] | tuple[()], sequence: int) -> int:
    """Return the number of the first append whose last sequence is not below `sequence`."""
    return bisect_left(range(len(appends) // 2), sequence, key=lambda at: appends[at * 2])
