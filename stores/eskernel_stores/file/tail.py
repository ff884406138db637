"""Tail: the end of the log, the one segment that is written to."""

from __future__ import annotations

import os

from eskernel_stores.file.folder import Handle, opened, sync_data, write_all
from eskernel_stores.file.index import Index
from eskernel_stores.file.segment import Segment


class Tail:
    """One segment, open for appending.

    Args:
        segment: it; made if there is no such file.
        length: of what is in it and acknowledged, in bytes.
        index: of that.

    Attributes:
        length: as above; what is in the file beyond is of a write that is under way.

    Raises:
        OSError: the file cannot be made or opened.
    """

    def __init__(self, segment: Segment, length: int, index: Index) -> None:
        self.segment = segment
        self.length = length
        self.index = index
        self._handle: Handle | None = opened(segment.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def close(self) -> None:
        """Let go of the file."""
        self._handle = None

    def write(self, data: bytes) -> None:
        """Append bytes; OSError if not all of them went."""
        write_all(self._fd(), data)

    def sync(self) -> None:
        """Have the disk keep what was written; after an OSError nobody knows what it keeps."""
        sync_data(self._fd())

    def cut_back(self) -> None:
        """Take back for good what was written and is not acknowledged.

        The disk must know too: else a power cut could bring back what its writer was told is not
        stored.
        """
        os.ftruncate(self._fd(), self.length)
        os.fsync(self._fd())

    def _fd(self) -> int:
        assert self._handle is not None, "the store checks that it is open"
        return self._handle.fd
