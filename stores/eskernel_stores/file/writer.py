"""Writer: makes lines durable, and only then lets readers see them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from eskernel.errors import StoreUnavailable
from eskernel_stores.file.folder import sync_folder
from eskernel_stores.file.index import Index
from eskernel_stores.file.index_file import store_index
from eskernel_stores.file.plan import Line
from eskernel_stores.file.segment import Segment, Segments, segment_path
from eskernel_stores.file.tail import Tail

_REOPEN = "close the store and open it again, which settles what is stored"


class Visible(NamedTuple):
    """What readers may see.

    Attributes:
        position: of the last event.
        end: the address behind it.
    """

    position: int
    end: int


class _Write:
    """A durable write under way, at the end of the log as it was before."""

    def __init__(self, lines: Sequence[Line], address: int) -> None:
        self.lines = lines
        self.address = address
        self.data = b"".join([line.data for line in lines])
        self.is_durable = False


class Writer:
    """Appends to a log; for one thread at a time.

    Args:
        root: the store's folder.
        segment_bytes: a write that would make a segment longer goes to the next one.
        segments: the log's.
        index: the log's.
        tail: the log's end.
        last_position: of the log.

    Attributes:
        visible: replaced as a whole after each write, so that readers see all of it or nothing;
            set last, when all it promises is in the index.
    """

    def __init__(
        self,
        root: Path,
        segment_bytes: int,
        segments: Segments,
        index: Index,
        tail: Tail,
        last_position: int,
    ) -> None:
        self._root = root
        self._segment_bytes = segment_bytes
        self._segments = segments
        self._index = index
        self._tail = tail
        self.visible = Visible(last_position, tail.segment.base + tail.length)
        # Set before the first byte is written, and until readers see the last: whoever finds it,
        # finds what an asynchronous exception, such as KeyboardInterrupt, has left. See settle.
        self._under_way: _Write | None = None
        # Set when nobody knows any more what the disk keeps; never unset.
        self._failed: str | None = None

    def check(self) -> None:
        """Raise StoreUnavailable if nothing can be written until the store is opened again."""
        if self._failed is not None:
            raise StoreUnavailable(f"{self._failed}; nothing was stored: {_REOPEN}")

    def settle(self) -> None:
        """Finish a write that was interrupted: show it if it is durable, else take it back.

        Raises:
            StoreUnavailable: it cannot be taken back, or an earlier one has failed.
        """
        self.check()
        write = self._under_way
        if write is not None and write.is_durable:
            self._publish(write)
        elif write is not None:
            self._take_back("an interrupted write cannot be taken back", unknown=False)

    def write(self, lines: Sequence[Line]) -> None:
        """Store lines in one durable write.

        Args:
            lines: one or more; their positions follow upon the last.

        Raises:
            StoreUnavailable: none of them is stored, or nobody knows.
        """
        write = _Write(lines, self.visible.end)
        length = self._tail.length
        if length and length + len(write.data) > self._segment_bytes:
            self._begin_segment(lines[0].position)
        self._under_way = write
        try:
            self._tail.write(write.data)
        except OSError as error:
            path = self._tail.segment.path
            self._take_back(f"writing to {path} failed ({error})", unknown=True)
            raise StoreUnavailable(f"{path} cannot be written: {error}; nothing was stored") from (
                error
            )
        try:
            self._tail.sync()
        except OSError as error:
            self._failed = f"the disk failed to keep {self._tail.segment.path} ({error})"
            raise StoreUnavailable(
                f"{self._failed}; it may be stored: {_REOPEN}", outcome_unknown=True
            ) from error
        write.is_durable = True
        self._publish(write)

    def close(self) -> None:
        """Let go of the file; an unfinished write is settled when the log is opened again."""
        self._tail.close()

    def _publish(self, write: _Write) -> None:
        """Let readers see a durable write; doing so again, after an interruption, is harmless."""
        tail = self._tail
        self._segments.add(tail.segment)
        address = write.address
        for line in write.lines:
            entry = (line.stream_id, line.last_sequence, line.position, address)
            tail.index.add(*entry)
            self._index.add(*entry)
            address += len(line.data)
        tail.length = address - tail.segment.base
        self.visible = Visible(write.lines[-1].last_position, address)
        self._under_way = None

    def _take_back(self, problem: str, *, unknown: bool) -> None:
        """Cut an unfinished write off the file; `unknown`: its own outcome is if that fails."""
        try:
            self._tail.cut_back()
        except OSError as error:
            self._failed = f"{problem}, nor could it be taken back ({error})"
            raise StoreUnavailable(f"{self._failed}: {_REOPEN}", outcome_unknown=unknown) from error
        self._under_way = None

    def _begin_segment(self, position: int) -> None:
        full = self._tail
        path = segment_path(self._root, position)
        try:
            tail = Tail(Segment(path, full.segment.base + full.length), 0, Index())
        except OSError as error:
            raise StoreUnavailable(f"{path} cannot be made: {error}; nothing was stored") from error
        try:
            sync_folder(self._root)
        except OSError as error:
            self._failed = f"the disk failed to keep {path} ({error})"
            raise StoreUnavailable(f"{self._failed}; nothing was stored: {_REOPEN}") from error
        self._tail = tail
        store_index(
            full.segment.path, full.index, full.segment.base, full.length, self.visible.position
        )
