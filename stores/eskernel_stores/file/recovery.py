"""Recovery: from the files of a folder to a log that can be read and appended to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Final

from eskernel.errors import CorruptStore
from eskernel_stores.file.folder import Handle, opened, sync_data, sync_folder, write_all
from eskernel_stores.file.index import Index
from eskernel_stores.file.index_file import load_index, store_index
from eskernel_stores.file.journal import warn
from eskernel_stores.file.scan import Scan, scan
from eskernel_stores.file.segment import Segment, Segments, segment_path, segment_paths
from eskernel_stores.file.tail import Tail
from eskernel_stores.file.writer import Writer

_CHUNK: Final = 1 << 20


def open_log(root: Path, segment_bytes: int, segments: Segments, index: Index) -> Writer:
    """Open or begin the log in a folder that is locked.

    Args:
        root: the folder.
        segment_bytes: see `Writer`.
        segments: none yet, to be filled.
        index: an empty one, to be filled.

    Returns:
        The writer at the end of the log.

    Raises:
        CorruptStore: acknowledged bytes are damaged or missing; nothing is changed.
        OSError: a file cannot be read or written.
    """
    return _Opening(root, segments, index).open(segment_bytes)


class _Opening:
    def __init__(self, root: Path, segments: Segments, index: Index) -> None:
        self._root = root
        self._segments = segments
        self._index = index
        self._position = 0
        self._end = 0

    def open(self, segment_bytes: int) -> Writer:
        paths = segment_paths(self._root)
        full = [(first, path) for first, path in paths if path.stat().st_size]
        empty = [path for first, path in paths if not path.stat().st_size]
        last: Scan | None = None
        for number, (first, path) in enumerate(full, 1):
            last = self._enter(first, path, is_last=number == len(full))
        tail = self._tail(last, full[-1][1] if full else None)
        for path in empty:
            if path != tail.segment.path:
                path.unlink()  # made, but never written to: its making was interrupted
        sync_folder(self._root)
        self._segments.add(tail.segment)
        writer = (self._root, segment_bytes, self._segments, self._index, tail, self._position)
        return Writer(*writer)

    def _enter(self, first: int, path: Path, *, is_last: bool) -> Scan | None:
        """Enter a segment into the index; return the scan of a last one that may be written to."""
        if first != self._position + 1:
            raise CorruptStore(
                f"{path} begins at position {first}, but the log before it ends at "
                f"{self._position}: a file is missing or damaged; restore it from a backup"
            )
        length = path.stat().st_size
        self._segments.add(Segment(path, self._end))
        found: Scan | None = None
        if (loaded := load_index(path, self._end, length)) is not None:
            part, self._position = loaded
        else:
            found = scan(path, self._end, self._position, self._index.last_sequence)
            if found.is_damaged and not is_last:
                raise found.corrupt("is damaged")
            part, length, self._position = found.index, found.length, found.position
            if not is_last:
                store_index(path, part, self._end, length, self._position)
        self._index.extend(part)
        self._end += length
        return found if is_last else None

    def _tail(self, last: Scan | None, path: Path | None) -> Tail:
        """Return the segment to write to, what is in it made whole and durable."""
        following = segment_path(self._root, self._position + 1)
        if last is not None:
            if last.is_damaged:
                _set_aside(last)
            _write_again(last)
            if not following.exists() or not last.lines:
                segment = Segment(last.path, last.base)
                return Tail(segment, last.length, last.index)
            sync_folder(self._root)
            store_index(last.path, last.index, last.base, last.length, last.position)
        elif path is not None and not following.exists():
            raise CorruptStore(
                f"{path} is full, but {following.name}, made before its index, is missing; "
                "restore it from a backup"
            )
        return Tail(Segment(following, self._end), 0, Index())


def _set_aside(found: Scan) -> None:
    """Move what a crash has left of an unfinished write into a file of its own."""
    source = opened(found.path, os.O_RDWR)
    aside, path = _new_file(found)
    size = 0
    while data := os.pread(source.fd, _CHUNK, found.length + size):
        write_all(aside.fd, data)
        size += len(data)
    sync_data(aside.fd)
    sync_folder(path.parent)
    os.ftruncate(source.fd, found.length)  # only now that the disk has the copy
    os.fsync(source.fd)
    warn(
        "torn_tail_moved",
        segment=str(found.path),
        line=found.lines + 1,
        bytes=size,
        moved_to=str(path),
    )


def _new_file(found: Scan) -> tuple[Handle, Path]:
    """Return a file that was not there before."""
    for path in _side_paths(found):
        try:
            return opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL), path
        except FileExistsError:
            continue
    raise AssertionError  # pragma: no cover - there are infinitely many


def _side_paths(found: Scan) -> Iterator[Path]:
    for number in count(1):
        yield found.path.with_name(f"torn-{found.position + 1:020}-{number}.jsonl")


def _write_again(found: Scan) -> None:
    """Make the last write durable, which may have failed or not been tried before the crash.

    Readers must not see what a power cut could take away. Syncing alone is not enough: once a sync
    has failed, the system takes what it could not write for written.
    """
    handle = opened(found.path, os.O_RDWR)
    start = found.write_start
    while data := os.pread(handle.fd, min(_CHUNK, found.length - start), start):
        start += os.pwrite(handle.fd, data, start)
    os.fsync(handle.fd)
