"""Recording in Python: the functions of `os` that change files, replaced by ones that tell.

Whatever changes a file otherwise, such as `open(path, "w")`, is noticed by an audit hook and makes
the log unusable rather than wrong.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Sequence
from functools import partial
from threading import RLock
from typing import Any, Final

from eskernel.testing.crash.recording.frames import Frame, Kind

_REPLACED: Final = (
    *("open", "close", "write", "writev", "pwrite", "pwritev", "ftruncate", "truncate"),
    *("posix_fallocate", "fsync", "fdatasync", "rename", "replace", "unlink", "remove", "mkdir"),
)
_UNSEEN: Final = ("link", "symlink", "rmdir", "sendfile", "copy_file_range")
_WRITING: Final = os.O_WRONLY | os.O_RDWR
_SYNCED: Final = getattr(os, "O_DSYNC", 0) | getattr(os, "O_SYNC", 0)


class PythonRecorder:  # pragma: no cover - in a process of its own, for it changes `os`
    """Records what goes through `os`.

    Args:
        pipe: descriptor whose writes are recorded as marks.
    """

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._lock = RLock()
        self._folder = ""
        self._log = -1
        self._frames = 0
        self._flags: dict[int, int] = {}  # of the descriptors recorded
        self._opening = False
        self._real = {
            name: getattr(os, name) for name in (*_REPLACED, *_UNSEEN) if hasattr(os, name)
        }
        for name in self._real:
            does = self._notice if name in _UNSEEN else getattr(self, f"_{name}")
            setattr(os, name, partial(does, name))
        sys.addaudithook(self._audit)

    def begin(self, folder: str, log: str) -> None:
        """Record from here on; see `Recorder.begin`."""
        self._log = self._real["open"](log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        self._folder = folder

    def end(self) -> None:
        """Record no more."""
        self._folder = ""

    def _tell(self, frame: Frame) -> None:
        with self._lock:
            self._frames += 1
            rest = memoryview(frame.packed())
            while rest:
                rest = rest[self._real["write"](self._log, rest) :]

    def _inside(self, path: Any) -> str | None:
        """Return a path relative to the folder, or None if it is not in it."""
        if not self._folder or isinstance(path, int):
            return None
        full = os.path.abspath(os.fsdecode(path))
        if full == self._folder:
            return ""
        return full[len(self._folder) + 1 :] if full.startswith(self._folder + os.sep) else None

    def _open(self, name: str, path: Any, flags: int, *args: Any, **options: Any) -> int:
        with self._lock:
            inside = self._inside(path)
            existed = inside is not None and os.path.lexists(path)
            self._opening = True
            try:
                descriptor: int = self._real[name](path, flags, *args, **options)
            finally:
                self._opening = False
            if inside is not None:
                self._flags[descriptor] = flags
                emptied = bool(flags & os.O_TRUNC)
                created = not existed
                self._tell(Frame(Kind.OPEN, descriptor, created + 2 * emptied, inside))
        return descriptor

    def _close(self, name: str, descriptor: int) -> None:
        with self._lock:
            if self._flags.pop(descriptor, None) is not None:
                self._tell(Frame(Kind.CLOSE, descriptor))
            self._real[name](descriptor)

    def _write(self, name: str, descriptor: int, data: Any) -> int:
        return self._writing(name, descriptor, bytes(data), data, at=None)

    def _writev(self, name: str, descriptor: int, parts: Sequence[Any]) -> int:
        return self._writing(name, descriptor, b"".join(map(bytes, parts)), parts, at=None)

    def _pwrite(self, name: str, descriptor: int, data: Any, offset: int) -> int:
        return self._writing(name, descriptor, bytes(data), data, offset, at=offset)

    def _pwritev(
        self, name: str, descriptor: int, parts: Sequence[Any], offset: int, *flags: int
    ) -> int:
        data = b"".join(map(bytes, parts))
        return self._writing(name, descriptor, data, parts, offset, *flags, at=offset)

    def _writing(self, name: str, descriptor: int, data: bytes, *args: Any, at: int | None) -> int:
        real: Callable[..., int] = self._real[name]
        if descriptor not in self._flags:
            if descriptor == self._pipe and self._folder:
                with self._lock:
                    self._tell(Frame(Kind.MARK, data=data))
                    return real(descriptor, *args)
            return real(descriptor, *args)
        with self._lock:
            flags = self._flags[descriptor]
            if flags & os.O_APPEND:
                at = os.fstat(descriptor).st_size
            elif at is None:
                at = os.lseek(descriptor, 0, os.SEEK_CUR)
            count = real(descriptor, *args)
            self._tell(Frame(Kind.WRITE, descriptor, at, data=data[:count]))
            if flags & _SYNCED:
                self._tell(Frame(Kind.SYNC, descriptor, self._frames))
        return count

    def _ftruncate(self, name: str, descriptor: int, size: int) -> None:
        with self._lock:
            self._real[name](descriptor, size)
            if descriptor in self._flags:
                self._tell(Frame(Kind.RESIZE, descriptor, size))

    def _truncate(self, name: str, path: Any, size: int) -> None:
        if isinstance(path, int):
            self._ftruncate("ftruncate", path, size)
            return
        with self._lock:
            self._real[name](path, size)
            if (inside := self._inside(path)) is not None:
                self._tell(Frame(Kind.RESIZE, -1, size, inside))

    def _posix_fallocate(self, name: str, descriptor: int, offset: int, length: int) -> None:
        with self._lock:
            before = os.fstat(descriptor).st_size
            self._real[name](descriptor, offset, length)
            if descriptor in self._flags and offset + length > before:
                self._tell(Frame(Kind.RESIZE, descriptor, offset + length))

    def _fsync(self, name: str, descriptor: int) -> None:
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        begun = self._frames
        self._real[name](descriptor)  # outside the lock: others write meanwhile, uncovered
        if number in self._flags:
            self._tell(Frame(Kind.SYNC, number, begun))

    _fdatasync = _fsync

    def _rename(self, name: str, source: Any, target: Any, **options: Any) -> None:
        with self._lock:
            self._real[name](source, target, **options)
            before, after = self._inside(source), self._inside(target)
            if before is not None and after is not None and not options:
                self._tell(Frame(Kind.RENAME, path=before, data=after.encode()))
            elif before is not None or after is not None:
                self._tell(Frame(Kind.UNSEEN, path=before or after or "", data=name.encode()))

    _replace = _rename

    def _unlink(self, name: str, path: Any, **options: Any) -> None:
        with self._lock:
            self._real[name](path, **options)
            if (inside := self._inside(path)) is not None:
                kind = Kind.UNSEEN if options.get("dir_fd") is not None else Kind.UNLINK
                self._tell(Frame(kind, path=inside, data=name.encode()))

    _remove = _unlink

    def _mkdir(self, name: str, path: Any, *args: Any, **options: Any) -> None:
        with self._lock:
            self._real[name](path, *args, **options)
            if (inside := self._inside(path)) is not None:
                self._tell(Frame(Kind.MKDIR, path=inside))

    def _notice(self, name: str, *args: Any, **options: Any) -> Any:
        touched = [inside for one in args if (inside := self._touched(one)) is not None]
        if touched:
            self._tell(Frame(Kind.UNSEEN, path=touched[0], data=f"os.{name}".encode()))
        return self._real[name](*args, **options)

    def _touched(self, thing: Any) -> str | None:
        if isinstance(thing, int):
            return f"descriptor {thing}" if thing in self._flags else None
        return self._inside(thing) if isinstance(thing, str | bytes | os.PathLike) else None

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        """Notice files opened for writing, or mapped, by other means than `os`."""
        if not self._folder or self._opening or event not in ("open", "mmap.__new__"):
            return
        if event == "open":
            path, mode, flags = args
            writes = flags & _WRITING or (isinstance(mode, str) and set(mode) & set("wax+"))
            how = "open()"
        else:
            path, writes, how = args[0], args[2] != 1, "mmap"  # 1 is ACCESS_READ
        if writes and (touched := self._touched(path)) is not None:
            regular = isinstance(path, int) or not _is_special(path)
            if regular:
                self._tell(Frame(Kind.UNSEEN, path=touched, data=how.encode()))


def _is_special(path: Any) -> bool:  # pragma: no cover - as above
    """Return whether this is there and no regular file, and so nothing a power cut changes."""
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False
