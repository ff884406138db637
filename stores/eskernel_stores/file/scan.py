"""Scan: a segment read line by line, up to its end or to the first damage.

What the damage means depends on what is behind it. A crash tears the write that is under way, and
no write begins before the one before it is durable; so a line of a *later* write behind the damage
shows that acknowledged bytes are damaged. Each line names its write by the position of the write's
first event. With P the position of the last good line, a line behind the damage is of the same
write if it names the good line's write, or P + 1: then the write begins with the damage itself. Any
other write began behind the damage.

The limit of this: damage inside the very last write looks as if that write was never finished, and
when every line behind the damage is damaged as well, nothing shows that there were later writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from eskernel.errors import CorruptStore
from eskernel.values import StreamId
from eskernel_stores.file.index import Index
from eskernel_stores.file.line import START, Head, read_head


@dataclass(slots=True)
class Scan:
    """What is good in a segment.

    Attributes:
        path: of the segment.
        base: address of its first byte.
        position: of the last good line's last event; before the scan, the position before.
        length: of the good lines, in bytes.
        lines: how many.
        write: the write of the last good line; None if there is none.
        write_start: where the first line of that write begins.
        index: of the good lines.
        is_damaged: whether there is something behind them.
    """

    path: Path
    base: int
    position: int
    length: int = 0
    lines: int = 0
    write: int | None = None
    write_start: int = 0
    index: Index = field(default_factory=Index)
    is_damaged: bool = False

    def corrupt(self, problem: str) -> CorruptStore:
        """Return the error that names the first line that is not good."""
        return CorruptStore(
            f"{self.path}, line {self.lines + 1}, {problem}; nothing was changed: "
            "restore the file from a backup"
        )


def scan(path: Path, base: int, position: int, last_sequence: Callable[[StreamId], int]) -> Scan:
    """Read a segment.

    Args:
        path: of the segment.
        base: address of its first byte.
        position: the last one of the segment before; 0 in the first.
        last_sequence: of a stream in the segments before.

    Raises:
        CorruptStore: acknowledged bytes are damaged, or the file is not a log.
        OSError: it cannot be read.
    """
    found = Scan(path, base, position)
    known: dict[bytes, StreamId] = {}
    with path.open("rb") as file:
        for line in file:
            head = read_head(line)
            if head is None or not _follows(found, head, known, last_sequence):
                found.is_damaged = True
                _judge(found, line, file)
                break
            stream_id = known[head.stream]
            address = base + found.length
            found.index.add(stream_id, head.last_sequence, head.position, address)
            if head.write != found.write:
                found.write, found.write_start = head.write, found.length
            found.position = head.last_position
            found.length += len(line)
            found.lines += 1
    return found


def _follows(
    found: Scan,
    head: Head,
    known: dict[bytes, StreamId],
    last_sequence: Callable[[StreamId], int],
) -> bool:
    """Return whether a line is the next one, and not one with others missing before it."""
    if head.position != found.position + 1 or head.size < 1 or not _is_same_write(found, head):
        return False
    if (stream_id := known.get(head.stream)) is None:
        stream_id = known[head.stream] = head.stream_id
    before = found.index.last_sequence(stream_id) or last_sequence(stream_id)
    return head.sequence == before + 1


def _is_same_write(found: Scan, head: Head) -> bool:
    return head.write in (found.write, found.position + 1)


def _judge(found: Scan, damaged: bytes, rest: Iterator[bytes]) -> None:
    """Raise CorruptStore if what begins with a damaged line is more than a torn write."""
    if not found.lines:
        start = damaged[: len(START)]
        if start[0] and start != START[: len(start)]:  # a power cut may leave zeros
            raise found.corrupt("is not a line of a log")
    for line in chain((damaged,), rest):
        at = 0
        while at >= 0:  # a damaged line break hides the line behind it
            head = read_head(line[at:])
            if head is not None and not _is_same_write(found, head):
                raise found.corrupt(
                    f"is damaged, and the file goes on with the write of position {head.write}"
                )
            at = line.find(START, at + 1)
