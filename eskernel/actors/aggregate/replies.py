"""Replies: where an outcome goes, and who claims the right to decide it.

A reply is claimed once: by the request, whose command then runs, or by a caller that has waited
long enough, and then the command never runs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol

import pykka

_NONE_YET = object()


class AnyReply(Protocol):
    """What an actor needs of any reply.

    Attributes:
        quick: whether `resolve` wakes a thread and does no more, so that anybody may call it.
    """

    @property
    def quick(self) -> bool: ...  # noqa: D102 - see the class

    def claim(self, by: object) -> bool:
        """Return whether this claimant is the first; it may ask again after an interruption."""
        ...

    def resolve(self, outcome: Any) -> None:
        """Hand over a value, or an exception to raise; only the first call counts."""
        ...


class WaitedReply:
    """The reply to a thread that waits for it.

    A dict, whose `setdefault` takes the first claimant in one step, and a bare lock, held until
    there is an outcome: together several times cheaper than an Event.
    """

    __slots__ = ("_claim", "_done", "outcome")
    quick = True

    def __init__(self) -> None:
        self._claim: dict[str, object] = {}
        self._done = threading.Lock()
        self._done.acquire()
        self.outcome: Any = _NONE_YET

    def claim(self, by: object) -> bool:
        """Return whether nobody else claimed it before."""
        return self._claim.setdefault("by", by) is by

    def resolve(self, outcome: Any) -> None:
        """Wake the waiting thread; when repeated, only make sure that it wakes."""
        if self.outcome is _NONE_YET:
            self.outcome = outcome
        if self._done.locked():
            self._done.release()

    def wait(self, timeout: float) -> bool:
        """Return whether there is an outcome within so many seconds."""
        if not 0.0 <= timeout <= threading.TIMEOUT_MAX:
            timeout = 0.0 if timeout < 0.0 else threading.TIMEOUT_MAX
        return self._done.acquire(timeout=timeout)


class CommandFuture(Future[Any]):
    """A future whose callbacks are handed over instead of being called on the spot.

    A callback may wait for the kernel, so it must not hold up the thread that completes futures.

    Args:
        hand_over: has another thread call what it is given.
    """

    def __init__(self, hand_over: Callable[[Callable[[], Any]], None]) -> None:
        super().__init__()
        self._hand_over = hand_over

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        """Have `fn(future)` called by the kernel's outer pool when the outcome is there."""
        super().add_done_callback(lambda future: self._hand_over(lambda: fn(future)))


class FutureReply:
    """The reply to a `concurrent.futures.Future`.

    Args:
        hand_over: see `CommandFuture`.
    """

    __slots__ = ("_claim", "future")
    quick = False

    def __init__(self, hand_over: Callable[[Callable[[], Any]], None]) -> None:
        self._claim: dict[str, object] = {}
        self.future: Future[Any] = CommandFuture(hand_over)

    def claim(self, by: object) -> bool:
        """Return whether nobody else claimed the future before, and it was not cancelled."""
        if self._claim.setdefault("by", by) is not by:
            return False
        return self.future.running() or self.future.set_running_or_notify_cancel()

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
    quick = False

    def __init__(self, future: pykka.Future[Any] | None) -> None:
        self.future = future
        self._open = True

    def claim(self, by: object) -> bool:  # noqa: ARG002
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
