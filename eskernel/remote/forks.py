"""Forks: what a process has started is not its children's."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol


class Forgetting(Protocol):
    """What lets go of what its process has started."""

    def forget(self) -> None:
        """Let go, in a forked child."""
        ...


_known: weakref.WeakSet[Forgetting] = weakref.WeakSet()
_installed = threading.Lock()


def forget_in_children(one: Forgetting) -> None:
    """Have it let go in every child this process forks."""
    if _installed.acquire(blocking=False):
        os.register_at_fork(after_in_child=_forget)
    _known.add(one)


def _forget() -> None:
    for one in list(_known):
        one.forget()
