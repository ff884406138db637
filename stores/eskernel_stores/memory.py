"""MemoryStore: events, snapshots and checkpoints in this process, gone with it.

Rows are plain tuples of strings, bytes and numbers. Python's garbage collector stops tracking
such tuples, so a store of many millions of events costs its collections nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TypeVar

from eskernel.codec import Codec
from eskernel.contracts import Commit
from eskernel.errors import ConcurrencyConflict, EskernelError
from eskernel.values import SERVING, Checkpoint, Event, Lease, Range, Row, Snapshot, StreamId
from eskernel_stores.memory_checkpoints import MemoryCheckpoints

A = TypeVar("A")
_SEQUENCE, _TYPE, _POSITION, _UNPACK = 1, 2, 8, 9
_APPEND_ID = _UNPACK  # whose place it takes in a stored row
_SLICE = 1000
_new = tuple.__new__


class MemoryStore:
    """An EventStore, SnapshotStore and CheckpointStore with every guarantee but durability.

    Args:
        types: declared dataclasses and Enums that readers of the store itself may meet; a kernel
            decodes with its domains' own.
    """

    immediate = True
    """Appends cost no I/O, so the kernel makes them on the caller's thread."""

    cannot_fence = "is in one process only, where no other kernel could own anything"
    """Why it is no FencingEventStore."""

    def __init__(self, types: Iterable[type] = ()) -> None:
        codec = Codec(types)
        self._pack = codec.pack
        self._unpack = codec.unpack
        self._decoder = (codec.unpack,)
        # The lock is held by the one writer. Readers take none: they copy slices, which the
        # interpreter makes in one step, of lists that only grow.
        self._lock = threading.Lock()
        self._log: list[Row] = []
        self._streams: dict[StreamId, Sequence[Row]] = {}
        # What a writer was about to publish; see _settle.
        self._writing: tuple[StreamId, list[Row]] | None = None
        self._snapshots: dict[StreamId, list[Snapshot]] = {}
        self._checkpoints = MemoryCheckpoints()

    def append(
        self,
        stream_id: StreamId,
        events: Sequence[Event],
        *,
        expected_sequence: int,
        append_id: int | None = None,
    ) -> int:
        """Store events at the end of a stream; see `EventStore.append`."""
        with self._lock:
            if self._writing is not None:
                self._settle()
            stream = self._streams.get(stream_id, ())
            if len(stream) != expected_sequence:
                return self._stored_before(stream_id, stream, events, expected_sequence, append_id)
            position = len(self._log)
            sequence = expected_sequence
            rows: list[Row] = []
            for event in events:
                if event[_UNPACK] is None:
                    event = event.sealed(self._pack, self._unpack)  # noqa: PLW2901
                sequence += 1
                position += 1
                # Unpacking and packing again is the fastest way to exchange two of ten items.
                of, number, name, body, header, tags, time, by, _, _ = event
                if number != sequence or of != stream_id:
                    raise ValueError(f"{event} is not event {sequence} of stream {stream_id}")
                row = (of, number, name, body, header, tags, time, by, position, append_id)
                rows.append(row)
            if not rows:
                raise ValueError("an append needs at least one event")
            self._writing = (stream_id, rows)
            if stream.__class__ is tuple:
                self._lengthen(stream_id, stream, rows)
            else:
                stream += rows  # type: ignore[operator]
            self._log += rows
            self._writing = None
            return position

    def _lengthen(self, stream_id: StreamId, stream: Sequence[Row], rows: list[Row]) -> None:
        """Make a stream's first rows a tuple, later ones a list.

        Many streams have one append only, and a tuple costs the garbage collector nothing.
        """
        self._streams[stream_id] = [*stream, *rows] if stream else tuple(rows)

    def _settle(self) -> None:
        """Finish what a writer began before KeyboardInterrupt or the like took it away."""
        if self._writing is None:
            return
        stream_id, rows = self._writing
        stream = self._streams.get(stream_id, ())
        if len(stream) < rows[0][_SEQUENCE]:
            self._lengthen(stream_id, stream, rows)
        if len(self._log) < rows[0][_POSITION]:
            self._log += rows
        self._writing = None

    def _stored_before(
        self,
        stream_id: StreamId,
        stream: Sequence[Row],
        events: Sequence[Event],
        expected_sequence: int,
        append_id: int | None,
    ) -> int:
        rows = stream[expected_sequence : expected_sequence + len(events)]
        if append_id is not None and rows and all(row[_APPEND_ID] == append_id for row in rows):
            return int(rows[-1][_POSITION])
        raise ConcurrencyConflict(stream_id, expected_sequence, len(stream))

    def append_batch(self, commits: Sequence[Commit]) -> list[int | Exception]:
        """Store many appends; see `BatchingEventStore.append_batch`."""
        broken: set[StreamId] = set()
        return [self._try_append(commit, broken) for commit in commits]

    def _try_append(self, commit: Commit, broken: set[StreamId]) -> int | Exception:
        stream_id, events, expected, append_id = commit
        if stream_id in broken:  # decided on events that were not stored; may fit by chance
            return ConcurrencyConflict(stream_id, expected, len(self._streams.get(stream_id, ())))
        try:
            return self.append(stream_id, events, expected_sequence=expected, append_id=append_id)
        except (EskernelError, ValueError) as error:
            broken.add(stream_id)
            return error

    def fold(
        self,
        stream_id: StreamId,
        function: Callable[[A, Event], A],
        initial: A,
        range: Range = Range(),  # noqa: B008 - immutable
    ) -> A:
        """Reduce a stream's events; see `EventStore.fold`."""
        rows = self._streams.get(stream_id)
        if rows is None:
            return initial
        accumulator = initial
        decoder = self._decoder
        for row in rows[_indices(range)]:
            accumulator = function(accumulator, _new(Event, row[:_APPEND_ID] + decoder))
        return accumulator

    def fold_all(
        self,
        function: Callable[[A, Event], A],
        initial: A,
        range: Range = Range(),  # noqa: B008 - immutable
        *,
        limit: int | None = None,
        types: Collection[str] | None = None,
        aggregate_types: Collection[str] | None = None,
    ) -> tuple[A, int]:
        """Reduce the log; see `EventStore.fold_all`."""
        accumulator = initial
        bounds = _indices(range)
        start, stop = bounds.start, self.last_position()
        if bounds.stop is not None:
            stop = min(stop, bounds.stop)
        if limit is not None:
            stop = min(stop, start + limit)
        reached = start
        decoder = self._decoder
        while reached < stop:
            rows = self._log[reached : min(reached + _SLICE, stop)]
            reached += len(rows)
            if types is not None:
                rows = [row for row in rows if row[_TYPE] in types]
            if aggregate_types is not None:
                rows = [row for row in rows if row[0][0] in aggregate_types]
            for row in rows:
                accumulator = function(accumulator, _new(Event, row[:_APPEND_ID] + decoder))
        return accumulator, reached

    def last_position(self) -> int:
        """Return the position of the newest event; 0 for an empty log."""
        if self._writing is not None:
            with self._lock:
                self._settle()
        return len(self._log)

    def store(self, snapshot: Snapshot, *, keep: int = 1) -> None:
        """Store a snapshot; see `SnapshotStore.store`."""
        sealed = snapshot.sealed(self._pack, self._unpack)
        with self._lock:
            others = self._snapshots.get(snapshot.stream_id, [])
            kept = [other for other in others if other.sequence != sealed.sequence]
            kept.append(sealed)
            kept.sort(key=_sequence)
            self._snapshots[snapshot.stream_id] = kept[-keep:]

    def load_latest(self, stream_id: StreamId) -> Snapshot | None:
        """Return the stream's newest snapshot, or None."""
        kept = self._snapshots.get(stream_id)
        return kept[-1].read_with(self._unpack) if kept else None

    def load_checkpoint(self, name: str, slot: str = SERVING) -> Checkpoint | None:
        """Return the checkpoint in a slot, or None."""
        return self._checkpoints.load(name, slot)

    def save_checkpoints(
        self, name: str, epoch: int, slots: Mapping[str, Checkpoint | None]
    ) -> None:
        """Replace checkpoints of a name; see `CheckpointStore.save_checkpoints`."""
        self._checkpoints.save(name, epoch, slots)

    def acquire_lease(self, name: str, owner: str, seconds: float) -> Lease:
        """Take or renew a lease; see `CheckpointStore.acquire_lease`."""
        return self._checkpoints.acquire(name, owner, seconds)

    def release_lease(self, name: str, owner: str) -> None:
        """Give a lease back; does nothing if another, or nobody, holds it."""
        self._checkpoints.release(name, owner)

    def close(self) -> None:
        """Do nothing: the events live as long as the store is referred to."""


def _sequence(snapshot: Snapshot) -> int:
    return snapshot.sequence


def _indices(range: Range) -> slice:
    """From numbers that start at 1 to list indices that start at 0."""
    return slice(max(range.start - 1, 0), None if range.stop is None else max(range.stop - 1, 0))
