"""The disk: what a power cut leaves of recorded writes.

The model is what POSIX promises, which is less than most file systems do. Data are safe once the
file was synced, names once the folder they are in was. Anything else may be there or not, each
write and each sector of 512 bytes by itself; a file may have grown without its data.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final, NamedTuple, TypeVar

from eskernel.testing.crash.recording.frames import Frame, Kind

T = TypeVar("T")

SECTOR: Final = 512
"""Bytes that a disk writes all or none."""


class _Change(NamedTuple):
    """Not yet synced: bytes at an offset, or a new size without them."""

    frame: int
    number: int
    data: bytes | None


class _Naming(NamedTuple):
    """Not yet synced: names that appear (of a file, or None for a folder) or vanish."""

    frame: int
    folder: str
    gone: str | None
    new: str | None
    file: _File | None


@dataclass(eq=False)
class _File:
    safe: bytearray = field(default_factory=bytearray)
    pending: list[_Change] = field(default_factory=list)


class Disk:
    """The files of one folder, safe and not.

    Args:
        folder: whose files to begin with, all of them safe.
    """

    def __init__(self, folder: Path) -> None:
        self._names: dict[str, _File | None] = {"": None}  # as the writer sees them
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            self._names[name] = None if path.is_dir() else _File(bytearray(path.read_bytes()))
        self._safe = dict(self._names)
        self._namings: list[_Naming] = []
        self._open: dict[int, str | _File] = {}  # a folder by its name
        self._frames = 0

    def apply(self, frame: Frame) -> None:
        """Do what a recorded writer did."""
        at = self._frames
        self._frames += 1
        kind, descriptor, number, path, data = frame
        if kind == Kind.OPEN:
            self._opened(at, descriptor, number, path)
        elif kind == Kind.CLOSE:
            self._open.pop(descriptor, None)
        elif kind == Kind.WRITE:
            self._file(descriptor).pending.append(_Change(at, number, data))
        elif kind == Kind.RESIZE:
            found = self._names[path] if descriptor < 0 else self._file(descriptor)
            assert found is not None
            found.pending.append(_Change(at, number, None))
        elif kind == Kind.SYNC:
            self._sync(self._open[descriptor], number)
        elif kind == Kind.MKDIR:
            self._name(at, None, path, None)
        elif kind == Kind.UNLINK:
            self._name(at, path, None, self._names[path])
        elif kind == Kind.RENAME:
            self._name(at, path, data.decode(), self._names[path])

    def cut(self, random: Random, into: Path) -> None:
        """Write what a power cut leaves at this moment into an empty folder."""
        names = dict(self._safe)
        for naming in _some(random, self._namings):
            _rename(names, naming)
        for name, file in sorted(names.items(), key=lambda item: item[0]):
            if not name or not _is_reachable(name, names):
                continue
            if file is None:
                (into / name).mkdir()
            else:
                (into / name).write_bytes(_left_of(random, file))

    def _opened(self, at: int, descriptor: int, number: int, path: str) -> None:
        if path not in self._names:
            self._name(at, None, path, _File())
        file = self._names[path]
        self._open[descriptor] = path if file is None else file
        if number & 2 and file is not None:
            file.pending.append(_Change(at, 0, None))

    def _file(self, descriptor: int) -> _File:
        file = self._open[descriptor]
        assert isinstance(file, _File)
        return file

    def _name(self, at: int, gone: str | None, new: str | None, file: _File | None) -> None:
        folder = posixpath.dirname(new or gone or "")
        naming = _Naming(at, folder, gone, new, file)
        _rename(self._names, naming)
        self._namings.append(naming)

    def _sync(self, what: str | _File, before: int) -> None:
        if isinstance(what, _File):
            for change in [change for change in what.pending if change.frame < before]:
                _change(what.safe, change)
            what.pending = [change for change in what.pending if change.frame >= before]
            return
        covered = [one for one in self._namings if one.folder == what and one.frame < before]
        for naming in covered:
            _rename(self._safe, naming)
        self._namings = [one for one in self._namings if one not in covered]


def _rename(names: dict[str, _File | None], naming: _Naming) -> None:
    if naming.gone is not None:
        names.pop(naming.gone, None)
    if naming.new is not None:
        names[naming.new] = naming.file


def _is_reachable(name: str, names: dict[str, _File | None]) -> bool:
    while name := posixpath.dirname(name):
        if name not in names:
            return False
    return True


def _change(content: bytearray, change: _Change) -> None:
    _, number, data = change
    if data is None:
        del content[number:]
        content.extend(bytes(number - len(content)))
        return
    content.extend(bytes(max(0, number - len(content))))
    content[number : number + len(data)] = data


def _left_of(random: Random, file: _File) -> bytes:
    content = bytearray(file.safe)
    for change in _some(random, file.pending):
        for part in _torn(random, change):
            _change(content, part)
    if file.pending and random.random() > 0.8:
        ends = [change.number + len(change.data or b"") for change in file.pending]
        content.extend(bytes(max(0, max(ends) - len(content))))
    return bytes(content)


def _some(random: Random, changes: list[T]) -> list[T]:
    """Return none, all, the first, or any of the changes, in order."""
    how = random.random()
    if how < 0.2:
        return []
    if how < 0.4:
        return changes
    if how < 0.6:
        return changes[: random.randint(0, len(changes))]
    return [change for change in changes if random.random() < 0.5]


def _torn(random: Random, change: _Change) -> Iterator[_Change]:
    """Yield a change, or some of the sectors of its bytes."""
    frame, number, data = change
    if data is None or random.random() < 0.4:
        yield change
        return
    end = number + len(data)
    edges = [number, *range((number // SECTOR + 1) * SECTOR, end, SECTOR), end]
    whole = random.randint(0, len(edges)) if random.random() < 0.5 else -1
    for index in range(len(edges) - 1):
        if index < whole or (whole < 0 and random.random() < 0.5):
            start, stop = edges[index] - number, edges[index + 1] - number
            yield _Change(frame, edges[index], data[start:stop])
