"""Frames: one for each thing done to files, in the order it was done."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from struct import Struct
from typing import NamedTuple

_HEAD = Struct("=IiqqII")


class Kind(IntEnum):
    """What was done; recorder.c has the same numbers."""

    OPEN = 1
    CLOSE = 2
    WRITE = 3
    RESIZE = 4
    SYNC = 5
    RENAME = 6
    UNLINK = 7
    MKDIR = 8
    MARK = 9
    UNSEEN = 10


class Frame(NamedTuple):
    """One thing done.

    Attributes:
        kind: what.
        descriptor: of the file, or -1.
        number: WRITE: the offset; RESIZE: the new size; OPEN: 1 if it created the file, plus 2 if
            it emptied it; SYNC: how many frames there were when it began, all that it covers.
        path: relative to the folder recorded; "" is the folder.
        data: WRITE, MARK: the bytes; RENAME: the new path; UNSEEN: why it cannot be recorded.
    """

    kind: Kind
    descriptor: int = -1
    number: int = 0
    path: str = ""
    data: bytes = b""

    def packed(self) -> bytes:  # pragma: no cover - in the process recorded
        """Return the frame as the bytes of a log."""
        path = self.path.encode()
        head = _HEAD.pack(self.kind, self.descriptor, self.number, 0, len(path), len(self.data))
        return head + path + self.data


def read_frames(log: Path) -> Iterator[Frame]:
    """Yield the frames of a log.

    Raises:
        NotRecordable: something was done that the recorder cannot see.
    """
    with log.open("rb") as file:
        while head := file.read(_HEAD.size):
            kind, descriptor, number, _, path, data = _HEAD.unpack(head)
            frame = Frame(Kind(kind), descriptor, number, file.read(path).decode(), file.read(data))
            if frame.kind == Kind.UNSEEN:
                raise NotRecordable(frame.path, frame.data.decode())
            yield frame


class NotRecordable(Exception):
    """A store changes files in a way that this recorder cannot see."""

    def __init__(self, path: str, how: str) -> None:
        super().__init__(f"the store changed {path!r} by {how}, which this recorder cannot see")
