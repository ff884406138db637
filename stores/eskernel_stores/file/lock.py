"""Lock: one process, and one store in it, at a time.

The lock is the kernel's (`flock`) and ends with the process, however that ends. A child made by
`fork` shares it with its parent, and could keep it for longer than the parent lives; so the child
closes its copy at once, and the store in it is of no use.
"""

from __future__ import annotations

import os
import weakref
from contextlib import suppress
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock
from pathlib import Path

from eskernel.errors import StoreUnavailable
from eskernel_stores.file.folder import LOCK, Handle, opened

_held: dict[int, weakref.ref[FolderLock]] = {}
_hooked: list[bool] = []


class FolderLock:
    """Holds a folder from its creation to `release`, or until nobody refers to it.

    Args:
        root: the folder.

    Attributes:
        forked_from: in a forked child, the process that holds the lock; else None.

    Raises:
        StoreUnavailable: another store holds the folder.
    """

    def __init__(self, root: Path) -> None:
        self.forked_from: int | None = None
        self._pid = os.getpid()
        self._handle: Handle | None = None
        handle = opened(root / LOCK, os.O_RDWR | os.O_CREAT)
        try:
            flock(handle.fd, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            holder = os.pread(handle.fd, 20, 0).decode(errors="replace").strip()
            raise StoreUnavailable(
                f"the file store {root} is open in process {holder or 'unknown'}; "
                "one store at a time: close it there first"
            ) from None
        self._handle = handle
        with suppress(OSError):  # a full disk; the number is only for the message above
            os.ftruncate(handle.fd, 0)
            os.pwrite(handle.fd, b"%d\n" % self._pid, 0)
        _held[id(self)] = weakref.ref(self)
        if not _hooked:
            _hooked.append(True)
            os.register_at_fork(after_in_child=_let_go)

    def release(self) -> None:
        """Let others have the folder."""
        _held.pop(id(self), None)
        if self._handle is not None:
            flock(self._handle.fd, LOCK_UN)  # a child just forked may not have closed its copy yet
        self._handle = None

    def leave_to_parent(self) -> None:
        """Close a forked child's copy; the parent's lock stays."""
        self.forked_from = self._pid
        self._handle = None


def _let_go() -> None:
    for reference in list(_held.values()):
        if (lock := reference()) is not None:
            lock.leave_to_parent()
    _held.clear()
