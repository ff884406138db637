"""Bell: tells those who follow the log that something was committed.

Only a hint: they look at the log by themselves too, and would find it a little later.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from eskernel.actors.tail import Tail
from eskernel.contracts import Commit


class Listener:
    """One who wants to know.

    Args:
        wake: called on the thread that has committed; must neither block nor raise.
    """

    __slots__ = ("told", "wake")

    def __init__(self, wake: Callable[[], Any]) -> None:
        self.wake = wake
        # Set by who rings, cleared by the listener before it looks: what is committed after its
        # look rings again.
        self.told = False


class Bell:
    """Rung after each commit, by whatever thread made it.

    Attributes:
        tail: what was committed last, while somebody listens; only of stores that are written by
            the committer.

    Args:
        changed: called whenever the first listener comes or the last one goes.
    """

    def __init__(self, changed: Callable[[], Any] = lambda: None) -> None:
        self._changed = changed
        # Guards changes of `listeners`, which is replaced as a whole and rung without a lock.
        self._lock = threading.Lock()
        self.listeners: tuple[Listener, ...] = ()
        self.tail = Tail()

    def announce(self, commits: Sequence[Commit], results: Sequence[Any]) -> None:
        """Leave what was stored in the tail, and ring; as `Tail.add`."""
        if self.listeners:
            self.tail.add(commits, results)
            self.ring()

    def ring(self) -> None:
        """Wake every listener that has not been told since it looked."""
        for listener in self.listeners:
            if not listener.told:
                listener.told = True
                listener.wake()

    def add(self, listener: Listener) -> None:
        """Have a listener told from now on."""
        with self._lock:
            self.listeners = (*self.listeners, listener)
            self._changed()

    def remove(self, listener: Listener) -> None:
        """Tell a listener no more; harmless if it was not told before."""
        with self._lock:
            self.listeners = tuple(one for one in self.listeners if one is not listener)
            self._changed()
