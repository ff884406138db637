"""Replies: where an outcome goes, and who claims the right to decide it.

A reply is claimed once: by the actor, which then runs the command, or by a caller that has waited
long enough, and then the command never runs.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any, Protocol

import pykka

_NONE_YET = object()


class AnyReply(Protocol):
    """What an actor needs of any reply."""

    def claim(self) -> bool:
        """Return whether the command may begin; True only once."""
        ...

    def resolve(self, outcome: Any) -> None:
        """Hand over a value, or an exception to raise; only the first call counts."""
        ...


class WaitedReply:
    """The reply to a thread that waits for it.

    Two bare locks, as they are several times cheaper than an Event: `_claim` is taken by the
    first to claim, `_done` is held until there is an outcome.
    """

    __slots__ = ("_claim", "_done", "outcome")

    def __init__(self) -> None:
        self._claim = threading.Lock()
        self._done = threading.Lock()
        self._done.acquire()
        self.outcome: Any = _NONE_YET

    def claim(self) -> bool:
        """Return whether nobody claimed it before."""
        return self._claim.acquire(blocking=False)

    def resolve(self, outcome: Any) -> None:
        """Wake the waiting thread; when repeated, only make sure that it wakes."""
        if self.outcome is _NONE_YET:
            self.outcome = outcome
        if self._done.locked():
            self._done.release()

    def wait(self, timeout: float) -> bool:
        """Return whether there is an outcome within so many seconds."""
        return self._done.acquire(timeout=min(max(timeout, 0.0), threading.TIMEOUT_MAX))


class FutureReply:
    """The reply to a `concurrent.futures.Future`."""

    __slots__ = ("future",)

    def __init__(self) -> None:
        self.future: Future[Any] = Future()

    def claim(self) -> bool:
        """Return whether the future was not cancelled."""
        return self.future.set_running_or_notify_cancel()

    def resolve(self, outcome: Any) -> None:
        """Complete the future, unless it was cancelled or completed."""
        if self.future.done():
            return
        if not self.future.running() and not self.future.set_running_or_notify_cancel():
            return
        if isinstance(outcome, BaseException):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)


class PykkaReply:
    """The reply to an `ask`, or to nobody after a `tell`."""

    __slots__ = ("_open", "future")

    def __init__(self, future: pykka.Future[Any] | None) -> None:
        self.future = future
        self._open = True

    def claim(self) -> bool:
        """Return True: Pykka's futures cannot be cancelled."""
        return True

    def resolve(self, outcome: Any) -> None:
        """Complete the future, if there is one."""
        future, self._open = (self.future if self._open else None), False
        if future is None:
            return
        if isinstance(outcome, BaseException):
            future.set_exception((type(outcome), outcome, outcome.__traceback__))
        else:
            future.set(outcome)
