"""Folder: directories and files that outlive a power cut."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from eskernel.errors import StoreUnavailable

LOCK: Final = "lock"
SNAPSHOTS: Final = "snapshots"
CHECKPOINTS: Final = "checkpoints"
_OWN: Final = (LOCK, SNAPSHOTS, CHECKPOINTS)


class NotSynced(OSError):
    """A file was replaced, and nobody knows whether the disk keeps that."""


class Handle:
    """A file descriptor, closed when nobody refers to it any more."""

    fd = -1
    close = os.close  # at interpreter exit the module may be gone

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        if self.fd >= 0:  # else creation was interrupted
            type(self).close(self.fd)


def opened(path: Path, flags: int) -> Handle:
    """Return a handle of a file, not inherited by programs started from here."""
    return Handle(os.open(path, flags | os.O_CLOEXEC, 0o644))


def sync_data(fd: int) -> None:
    """Have the disk keep a file's content and length."""
    if hasattr(os, "fdatasync"):
        os.fdatasync(fd)
    else:
        os.fsync(fd)  # pragma: no cover - macOS


def sync_folder(path: Path) -> None:
    """Have the disk keep which files a folder has."""
    handle = opened(path, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(handle.fd)


def write_all(fd: int, data: bytes) -> None:
    """Write, in one call if the system takes everything in one."""
    written = os.write(fd, data)
    if written < len(data):
        rest = memoryview(data)
        while written < len(data):
            written += os.write(fd, rest[written:])


def replace_file(path: Path, data: bytes) -> None:
    """Write a file, so that after a power cut it has either this content or the one before.

    Raises:
        NotSynced: it has this content, but maybe not after a power cut.
        OSError: any other, and the file is as it was.
    """
    draft = path.with_suffix(".tmp")
    try:
        handle = opened(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        write_all(handle.fd, data)
        sync_data(handle.fd)
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    try:
        sync_folder(path.parent)
    except OSError as error:
        raise NotSynced(f"the disk failed to keep {path}: {error}") from error


def make_folder(path: Path) -> None:
    """Make a folder and those above it, as far as they are missing.

    Raises:
        OSError: one of them is a file, or cannot be made.
    """
    if path.is_dir():
        return
    if path.exists():
        raise NotADirectoryError(f"{path} is a file; a file store needs a folder")
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync_folder(path.parent)


def make_root(path: Path) -> None:
    """Make the store's folder, or check that it may be one.

    Raises:
        StoreUnavailable: it is a file or a folder of something else, or cannot be made.
    """
    try:
        make_folder(path)
        names = os.listdir(path)
    except OSError as error:
        raise StoreUnavailable(f"the file store {path} cannot be opened: {error}") from error
    if not any(name in _OWN or name.startswith("log-") for name in names):
        strangers = [name for name in names if name[0] != "." and name != "lost+found"]
        if strangers:
            raise StoreUnavailable(
                f"{path} is not a file store: it holds {min(strangers)!r}; "
                "name an empty folder, or a new one"
            )
