"""Lines into a file, one by one: append, then fdatasync."""

from __future__ import annotations

import os
from pathlib import Path

_sync = getattr(os, "fdatasync", os.fsync)


class RawLines:
    """A file that grows.

    Args:
        path: the file; made.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def append(self, line: bytes, count: int) -> None:
        """Append a line so many times, each durable before the next."""
        for _ in range(count):
            os.write(self._file, line)
            _sync(self._file)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
