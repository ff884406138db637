"""Plan: what a batch of commits comes to, before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from eskernel.codec import Codec
from eskernel.contracts import Commit
from eskernel.errors import ConcurrencyConflict, NotStorable
from eskernel.values import StreamId
from eskernel_stores.checking import append_id_bytes, check_stream, checked_rows
from eskernel_stores.file.index import Index
from eskernel_stores.file.line import event_line
from eskernel_stores.file.tagged import Tagger

FindStored = Callable[[StreamId, int, int], int | None]
"""From stream, first sequence and append id to the last position of that append, if stored."""


class Line(NamedTuple):
    """A line to be written.

    Attributes:
        stream_id: whose.
        last_sequence: of its last event.
        position: of its first event.
        last_position: of its last event.
        data: the line.
    """

    stream_id: StreamId
    last_sequence: int
    position: int
    last_position: int
    data: bytes


class Plan:
    """Decides every commit of a batch on the log and on the commits before it.

    Args:
        commits: the batch.
        codec: seals open events.
        index: of the log.
        last_position: of the log.
        find_stored: looks an append up in the log.

    Attributes:
        results: a position or an exception for each commit, in order.
        lines: what makes the positions true, once written.
        repeats: whether a commit had been stored before this batch.
    """

    def __init__(
        self,
        commits: Sequence[Commit],
        codec: Codec,
        index: Index,
        last_position: int,
        find_stored: FindStored,
    ) -> None:
        self._codec = codec
        self._index = index
        self._find_stored = find_stored
        self._tagger = Tagger()
        self._write = self._next = last_position + 1
        # Of the streams this batch appends to: where they are, and the appends by first sequence.
        self._reached: dict[StreamId, int] = {}
        self._planned: dict[tuple[StreamId, int], tuple[int, int | None]] = {}
        # A commit was decided on the one before it on its stream; if that failed, so does it, even
        # if its sequence should fit by chance.
        self._broken: set[StreamId] = set()
        self.lines: list[Line] = []
        self.repeats = False
        self.results = [self._decide(commit) for commit in commits]

    def _decide(self, commit: Commit) -> int | Exception:
        stream_id, _, expected, append_id = commit
        try:
            check_stream(stream_id)
        except NotStorable as error:
            return error
        try:
            if append_id is not None:
                append_id_bytes(append_id)
            reached = self._sequence_of(stream_id)
            if stream_id in self._broken:
                raise ConcurrencyConflict(stream_id, expected, reached)
            if reached != expected:
                return self._stored_before(commit, reached)
            return self._add(commit)
        except Exception as error:  # noqa: BLE001 - one commit never fails its neighbours
            self._broken.add(stream_id)
            return error

    def _sequence_of(self, stream_id: StreamId) -> int:
        reached = self._reached.get(stream_id)
        return self._index.last_sequence(stream_id) if reached is None else reached

    def _stored_before(self, commit: Commit, reached: int) -> int:
        stream_id, _, expected, append_id = commit
        if append_id is not None and 0 <= expected < reached:
            planned = self._planned.get((stream_id, expected + 1))
            if planned is not None and planned[1] == append_id:
                return planned[0]
            position = self._find_stored(stream_id, expected + 1, append_id)
            if position is not None:
                self.repeats = True
                return position
        raise ConcurrencyConflict(stream_id, expected, reached)

    def _add(self, commit: Commit) -> int:
        stream_id, events, expected, append_id = commit
        pack, unpack = self._codec.pack, self._codec.unpack
        rows: list[Any] = checked_rows(stream_id, events, expected, pack, unpack)
        first = self._next
        data = event_line(self._write, first, append_id, rows, self._tagger)
        last_sequence = expected + len(rows)
        self._next = first + len(rows)
        self._reached[stream_id] = last_sequence
        self._planned[stream_id, expected + 1] = (self._next - 1, append_id)
        self.lines.append(Line(stream_id, last_sequence, first, self._next - 1, data))
        return self._next - 1
