"""View: what other threads see of a consumer of the log, and wait for."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple

from eskernel.projections.progress import Parked

_LOOK_AGAIN: Final = 0.25  # seconds; what a wake-up lost to an interruption costs at most


class Status(Enum):
    """What a projection or subscription is doing."""

    STARTING = "starting"
    """it has not looked yet"""
    CATCHING_UP = "catching_up"
    """it works on events that were there before"""
    LIVE = "live"
    """it has seen everything and follows"""
    FOLLOWING = "following"
    """another process does the work"""
    RETRYING = "retrying"
    """an event failed, or the store, and will be tried again"""
    REBUILDING = "rebuilding"
    """what serves was made by another version and waits to be replaced"""
    STOPPED = "stopped"
    """an event failed for good, or its tables or checkpoint are damaged; `error` tells"""
    ENDED = "ended"
    """the kernel was stopped, or the subscription closed"""


class Rebuild(NamedTuple):
    """A rebuild under way.

    Attributes:
        position: how far it has come.
        target: the newest position when it was looked at last.
        error: what stopped it; None while nothing does.
    """

    position: int
    target: int
    error: Exception | None = None

    @property
    def share(self) -> float:
        """How much is done, 0 to 1."""
        return min(1.0, self.position / self.target) if self.target else 1.0


class _Waiter:
    __slots__ = ("position", "told")

    def __init__(self, position: int) -> None:
        self.position = position
        self.told: SimpleQueue[None] = SimpleQueue()


class View:
    """Written by the one thread that consumes, read by all; outlives a consumer that is restarted.

    Attributes:
        position: everything up to it is visible; falls by a rollback only.
        status: what is being done.
        error: the newest failure; None when all is well.
        parked: the events put aside.
        rebuild: the rebuild under way, if any.
        version: of the code that made what is visible.
        active: whether this process holds the lease.
        urge: called by those who begin to wait; set by the consumer's actor.

    Args:
        position: what is visible from the beginning.
    """

    def __init__(self, position: int = 0) -> None:
        self.position = position
        self.status = Status.STARTING
        self.error: Exception | None = None
        self.parked: tuple[Parked, ...] = ()
        self.rebuild: Rebuild | None = None
        self.version = ""
        self.active = False
        # Appended to and removed from in single steps. A waiter is in the list before it looks at
        # `position`, and `position` is set before the list is looked through: so one of the two
        # notices. One whose thread was interrupted before it could leave is removed when told.
        self._waiters: list[_Waiter] = []
        self.urge: Callable[[], Any] = lambda: None

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for a position."""
        return bool(self._waiters)

    def reach(self, position: int) -> None:
        """Make a position visible, and wake those who wait for it."""
        self.position = position
        if self._waiters:
            for waiter in tuple(self._waiters):
                if waiter.position <= position:
                    waiter.told.put(None)
                    self._forget(waiter)

    def become(self, status: Status, error: Exception | None = None) -> None:
        """Set status and error, and wake everybody if nothing more will come."""
        self.error = error
        self.status = status
        if status in (Status.STOPPED, Status.ENDED):
            for waiter in tuple(self._waiters):
                waiter.told.put(None)

    def wait_for(self, position: int, seconds: float) -> bool:
        """Wait until a position is visible, or nothing more will come.

        Args:
            position: what to wait for.
            seconds: how long.

        Returns:
            Whether it is visible.
        """
        if self.position >= position:
            return True
        deadline = time.monotonic() + seconds
        waiter = _Waiter(position)
        try:
            self._waiters.append(waiter)
            self.urge()
            while self.position < position:
                left = deadline - time.monotonic()
                if left <= 0 or self.status in (Status.STOPPED, Status.ENDED):
                    return False
                with suppress(Empty):
                    waiter.told.get(timeout=min(left, _LOOK_AGAIN))
            return True
        finally:
            self._forget(waiter)

    def _forget(self, waiter: _Waiter) -> None:
        with suppress(ValueError):
            self._waiters.remove(waiter)
