"""FileStore: the log a person can read.

Long because it has the methods of four contracts, most of which only pass a call on.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from eskernel.codec import Codec
from eskernel.contracts import Commit
from eskernel.errors import StoreUnavailable
from eskernel.values import SERVING, Checkpoint, Event, Lease, Range, Snapshot, StreamId
from eskernel_stores.file.checkpoints import CheckpointFiles
from eskernel_stores.file.folder import CHECKPOINTS, SNAPSHOTS, make_root
from eskernel_stores.file.index import Index
from eskernel_stores.file.line import read_head
from eskernel_stores.file.lock import FolderLock
from eskernel_stores.file.plan import Plan
from eskernel_stores.file.reader import Reader
from eskernel_stores.file.recovery import open_log
from eskernel_stores.file.segment import Segments
from eskernel_stores.file.snapshots import SnapshotFiles
from eskernel_stores.file.writer import Writer

A = TypeVar("A")
_SLICE = 512


class FileStore:
    """An EventStore, BatchingEventStore, SnapshotStore and CheckpointStore in JSON Lines.

    Every append is a line, and every batch one write and one `fdatasync`. Opening cuts off what a
    crash left of a write nobody was told of, moving it into a `torn-…` file, and refuses a log
    whose acknowledged lines are damaged; `eskernel_stores.file.scan` says how it tells, and where
    that ends. After a disk has failed to sync, the store stores nothing until it is opened again.

    Args:
        root: the folder; made if it is missing. One store, in one process, has it at a time.
        types: declared dataclasses and Enums that readers of the store itself may meet; a kernel
            decodes with its domains' own.
        segment_bytes: a log file that would grow longer is followed by another; only a single
            write of more is in a longer one.

    Raises:
        StoreUnavailable: the folder is in use, is no folder, or cannot be read and written.
        CorruptStore: the log is damaged; nothing was changed.
        ValueError: `segment_bytes` is not a positive whole number.
    """

    cannot_fence = "can be open in one process only, where no other kernel could own anything"
    """Why it is no FencingEventStore."""

    def __init__(
        self,
        root: str | os.PathLike[str],
        types: Iterable[type] = (),
        *,
        segment_bytes: int = 32 << 20,
    ) -> None:
        if not isinstance(segment_bytes, int) or segment_bytes < 1:
            raise ValueError(f"segment_bytes must be at least 1, not {segment_bytes!r}")
        self._root = Path(os.path.abspath(root))
        self._codec = Codec(types)
        self._segments = Segments()
        self._index = Index()
        self._snapshots = SnapshotFiles(self._root / SNAPSHOTS, self._codec)
        self._checkpoints = CheckpointFiles(self._root / CHECKPOINTS)
        # Held by the one writer. Readers take none: they look only at what the index has of what
        # the writer has published, and both only grow.
        self._lock = threading.Lock()
        self._is_closed = False
        make_root(self._root)
        try:
            self._folder_lock = FolderLock(self._root)
            self._writer: Writer = self._open_log(segment_bytes)
        except OSError as error:
            raise StoreUnavailable(f"{self._root} cannot be opened: {error}") from error

    def _open_log(self, segment_bytes: int) -> Writer:
        try:
            return open_log(self._root, segment_bytes, self._segments, self._index)
        except BaseException:
            self._folder_lock.release()
            raise

    def append(
        self,
        stream_id: StreamId,
        events: Sequence[Event],
        *,
        expected_sequence: int,
        append_id: int | None = None,
    ) -> int:
        """Store events at the end of a stream; see `EventStore.append`."""
        commit = Commit(stream_id, events, expected_sequence, append_id)
        (result,) = self.append_batch([commit])
        if isinstance(result, Exception):
            raise result
        return result

    def append_batch(self, commits: Sequence[Commit]) -> list[int | Exception]:
        """Store many appends in one write; see `BatchingEventStore.append_batch`."""
        self._check_open()
        with self._lock:
            self._check_open()
            writer = self._writer
            writer.settle()
            position = writer.visible.position
            plan = Plan(commits, self._codec, self._index, position, self._find_stored)
            if plan.lines:
                try:
                    writer.write(plan.lines)
                except StoreUnavailable as error:
                    if error.outcome_unknown or not plan.repeats:
                        raise
                    raise StoreUnavailable(
                        f"{error}; but a commit sent again with it had been stored before: repeat "
                        "with the same command_id",
                        outcome_unknown=True,
                    ) from error
            return plan.results

    def _find_stored(self, stream_id: StreamId, sequence: int, append_id: int) -> int | None:
        found = self._index.append_with(stream_id, sequence)
        if found is None or found[0] != sequence:
            return None
        reader = self._reader()
        head = read_head(reader.line_at(found[1]))
        if head is None or (head.stream_id, head.sequence) != (stream_id, sequence):
            raise reader.corrupt(found[1], "it is not what was written", stream_id, sequence)
        return head.last_position if head.append_id == append_id else None

    def fold(
        self,
        stream_id: StreamId,
        function: Callable[[A, Event], A],
        initial: A,
        range: Range = Range(),  # noqa: B008 - immutable
    ) -> A:
        """Reduce a stream's events; see `EventStore.fold`."""
        self._check_open()
        reader = self._reader()
        end = self._writer.visible.end
        accumulator = initial
        start, stop = max(range.start, 1), range.stop
        for first, address in self._index.lines_of(stream_id, start, stop, end):
            events = reader.events_at(address, first, stream_id)
            if first < start or (stop is not None and first + len(events) > stop):
                events = events[max(start - first, 0) : None if stop is None else stop - first]
            for event in events:
                accumulator = function(accumulator, event)
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
        self._check_open()
        accumulator = initial
        reached = max(range.start - 1, 0)
        stop = self._writer.visible.position
        if range.stop is not None:
            stop = min(stop, range.stop - 1)
        if limit is not None:
            stop = min(stop, reached + limit)
        for events in self._lines(reached + 1, stop):
            for event in events:
                if (types is None or event[2] in types) and (
                    aggregate_types is None or event[0][0] in aggregate_types
                ):
                    accumulator = function(accumulator, event)
        return accumulator, max(reached, stop)

    def _lines(self, start: int, stop: int) -> Iterator[list[Event]]:
        """Yield the events of each append with positions from `start` to `stop`, both included."""
        reader = self._reader()
        positions, addresses = self._index.positions, self._index.addresses
        number = bisect_right(positions, start) - 1
        while start <= stop:
            slices = (column[number : number + _SLICE] for column in (positions, addresses))
            for first, address in zip(*slices, strict=False):  # the newest may be half entered
                if first > stop:
                    return
                events = reader.events_at(address, first)
                after = first + len(events)
                yield events[max(start - first, 0) : min(after, stop + 1) - first]
                start = after
            number += _SLICE

    def last_position(self) -> int:
        """Return the position of the newest event; 0 for an empty log."""
        self._check_open()
        return self._writer.visible.position

    def store(self, snapshot: Snapshot, *, keep: int = 1) -> None:
        """Store a snapshot; see `SnapshotStore.store`."""
        self._check_open()
        self._snapshots.store(snapshot, keep)

    def load_latest(self, stream_id: StreamId) -> Snapshot | None:
        """Return the stream's newest snapshot, or None."""
        self._check_open()
        return self._snapshots.load_latest(stream_id)

    def load_checkpoint(self, name: str, slot: str = SERVING) -> Checkpoint | None:
        """Return the checkpoint in a slot, or None."""
        self._check_open()
        return self._checkpoints.load(name, slot)

    def save_checkpoints(
        self, name: str, epoch: int, slots: Mapping[str, Checkpoint | None]
    ) -> None:
        """Replace checkpoints of a name; see `CheckpointStore.save_checkpoints`."""
        self._check_open()
        self._checkpoints.save(name, epoch, slots)

    def acquire_lease(self, name: str, owner: str, seconds: float) -> Lease:
        """Take or renew a lease; see `CheckpointStore.acquire_lease`."""
        self._check_open()
        return self._checkpoints.acquire(name, owner, seconds)

    def release_lease(self, name: str, owner: str) -> None:
        """Give a lease back; does nothing if another, or nobody, holds it."""
        self._check_open()
        self._checkpoints.release(name, owner)

    def close(self) -> None:
        """Let others have the folder; whatever is called later raises StoreUnavailable."""
        if self._folder_lock.forked_from is not None:
            return  # the parent's store, and its lock, which a thread of the parent may hold
        self._checkpoints.close()
        with self._lock:
            self._is_closed = True
            self._segments.close()
            self._writer.close()
            self._folder_lock.release()

    def _reader(self) -> Reader:
        return Reader(self._segments, self._codec.unpack)

    def _check_open(self) -> None:
        if self._is_closed:
            raise StoreUnavailable(f"the file store {self._root} is closed; open it again")
        if (parent := self._folder_lock.forked_from) is not None:
            raise StoreUnavailable(
                f"the file store {self._root} was opened by process {parent} before a fork; "
                "open it in one process only"
            )
