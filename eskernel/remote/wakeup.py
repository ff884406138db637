"""Wakeup: has one thread look for work, once for all who tell it before it does."""

from __future__ import annotations

from queue import SimpleQueue


class Wakeup:
    """Told by any thread, waited for by one."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[bool] = SimpleQueue()
        # Set by whoever tells, cleared by the one who waits before it looks: what is there after
        # the look finds it cleared.
        self._told = False

    def tell(self) -> None:
        """Have the thread look."""
        if not self._told:
            self._told = True
            self._queue.put(True)

    def end(self) -> None:
        """Have it wait no more, after what it was told before."""
        self._queue.put(False)

    def wait(self) -> bool:
        """Return True when there is something to look for, and False at the end."""
        return self._queue.get()

    def looks(self) -> None:
        """Note that the thread looks now: who comes later must tell it again."""
        self._told = False
