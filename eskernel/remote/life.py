"""Life: starting and stopping what runs behind a front, in one process and not in its forks."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from eskernel.actors.aggregate.limits import check_seconds
from eskernel.actors.pool import JobQueue
from eskernel.actors.runtime import FORKED, STOPPED
from eskernel.errors import KernelStopped
from eskernel.remote.forks import forget_in_children
from eskernel.remote.running import Running

R = TypeVar("R", bound=Running)


class Life(ABC, Generic[R]):
    """Starts and stops; every method is thread-safe. A subclass says what there is to run."""

    def __init__(self) -> None:
        # Guards start and stop; calling threads read `_running` without it. Re-entrant, for a
        # signal handler that stops a kernel which is being stopped.
        self._lifecycle = threading.RLock()
        self._running: R | None = None
        # Of what runs, or ran last: answers may come in while that is being stopped.
        self._callbacks = JobQueue()
        self._why_not = (
            f"it was not started; use `with {type(self).__name__}(...) as kernel:` or start()"
        )
        forget_in_children(self)

    @abstractmethod
    def _new(self) -> R:
        """Return what is to be run, not started yet."""

    def start(self) -> Self:
        """Start what runs the aggregates, and return when all of it serves.

        On a started kernel, do nothing.

        Raises:
            KernelStopped: in a forked child of the process that started it, or when something does
                not come up; nothing is left of it then.
        """
        self._refuse_fork()
        with self._lifecycle:
            if self._running is None:
                running = self._new()
                self._callbacks = running.callbacks
                running.start()
                self._running = running
        return self

    def stop(self, timeout: float = 5.0) -> bool:
        """Stop: commands that were sent end, others get KernelStopped, new ones are refused.

        Args:
            timeout: seconds to wait for commands under way.

        Returns:
            Whether everything ended in time. In a forked child nothing happens.
        """
        check_seconds("timeout", timeout)
        if self._why_not == FORKED:
            return True
        with self._lifecycle:
            running, self._running = self._running, None
            if running is None:
                return True
            self._why_not = STOPPED
            try:
                return running.stop(timeout)
            except BaseException:  # an interruption leaves nothing behind, either
                running.stop(0.0)
                raise

    def forget(self) -> None:
        """Let go of what is the parent's, in a forked child.

        A kernel that was not started has nothing of it, and can be started in the child.
        """
        running, self._running = self._running, None
        if running is None:
            self._lifecycle = threading.RLock()  # a thread of the parent may have held it
        else:
            self._why_not = FORKED
            running.abandon()

    def _refuse_fork(self) -> None:
        """Raise in a forked child; before any lock, which a parent's thread may have held."""
        if self._why_not == FORKED:
            raise KernelStopped(FORKED)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _present(self) -> R:
        running = self._running
        if running is None:
            raise KernelStopped(self._why_not)
        return running

    def _hand_over(self, job: Callable[[], Any]) -> None:
        """Have the callback of a future called by the pool of what runs, or ran last."""
        self._callbacks.put(job)
