"""Segment: a file of the log, named by the position of its first event."""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from pathlib import Path
from typing import Final, NamedTuple

from eskernel_stores.file.folder import Handle, opened

_NAME = re.compile(r"log-(\d{20})\.jsonl")
_OPEN: Final = 100
"""Segments kept open for reading; a log may have more than a process may open."""


class Segment(NamedTuple):
    """One file.

    Attributes:
        path: where it is.
        base: address of its first byte.
    """

    path: Path
    base: int


def segment_path(root: Path, position: int) -> Path:
    """Return the path of the segment whose first event is at `position`."""
    return root / f"log-{position:020}.jsonl"


def segment_paths(root: Path) -> list[tuple[int, Path]]:
    """Return the first position and the path of each segment in a folder, in order."""
    names = ((_NAME.fullmatch(name), name) for name in os.listdir(root))
    return sorted((int(found[1]), root / name) for found, name in names if found)


class Segments:
    """The segments of a log, in order; read without a lock, changed by one thread."""

    def __init__(self) -> None:
        self._all: list[Segment] = []
        self._bases: list[int] = []
        self._handles: dict[int, Handle] = {}

    def add(self, segment: Segment) -> None:
        """Enter the newest segment; doing so again, after an interruption, is harmless."""
        if not self._all or self._all[-1].base < segment.base:
            self._all.append(segment)
        if not self._bases or self._bases[-1] < segment.base:
            self._bases.append(segment.base)

    def holding(self, address: int) -> Segment:
        """Return the segment that holds an address."""
        return self._all[bisect_right(self._bases, address) - 1]

    def handle(self, segment: Segment) -> Handle:
        """Return a handle to read a segment; it stays open while somebody refers to it."""
        handle = self._handles.get(segment.base)
        if handle is None:
            handle = opened(segment.path, os.O_RDONLY)
            known = list(self._handles)  # made at once; other readers may change it meanwhile
            for base in known[: max(len(known) - _OPEN + 1, 0)]:
                self._handles.pop(base, None)
            self._handles[segment.base] = handle
        return handle

    def close(self) -> None:
        """Let go of all handles; a reader in the midst of one keeps it."""
        self._handles.clear()
