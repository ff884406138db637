"""Threads that start together and always end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from threading import Barrier, Event, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

DEADLINE: Final = 60.0
"""Seconds after which a thread counts as hanging."""

Job = Callable[[], Any]
Watcher = Callable[[Callable[[], bool]], Any]
"""Runs as long as the function it is given returns True, and may look once more then."""


def at_once(jobs: Sequence[Job], watchers: Sequence[Watcher] = ()) -> list[Any]:
    """Run each job and each watcher in a thread of its own, all starting together.

    Returns:
        What the jobs and then the watchers return.

    Raises:
        AssertionError: one hangs.
        Exception: the first that one raised.
    """
    over = Event()
    barrier = Barrier(len(jobs) + len(watchers))
    workers = [_Worker(barrier, job) for job in jobs]
    observers = [_Worker(barrier, _watching(watch, over)) for watch in watchers]
    deadline = monotonic() + DEADLINE
    with _frequent_switches():
        for worker in (*workers, *observers):
            worker.start()
        for worker in workers:
            worker.join(max(deadline - monotonic(), 0))
        over.set()
        for observer in observers:
            observer.join(max(deadline - monotonic(), 0))
    return [worker.outcome() for worker in (*workers, *observers)]


class _Worker(Thread):
    def __init__(self, barrier: Barrier, job: Job) -> None:
        super().__init__(daemon=True, name="eskernel-conformance")
        self._barrier = barrier
        self._job = job
        self._result: Any = None
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._barrier.wait(DEADLINE)
            self._result = self._job()
        except BaseException as error:  # noqa: BLE001 - raised again by outcome
            self._error = error

    def outcome(self) -> Any:
        if self.is_alive():
            raise AssertionError(f"a thread still hangs after {DEADLINE:g} seconds")
        if self._error is not None:
            raise self._error
        return self._result


def _watching(watch: Watcher, over: Event) -> Job:
    return lambda: watch(lambda: not over.is_set())


@contextmanager
def _frequent_switches() -> Iterator[None]:
    """Let threads interrupt each other often: races that exist then show."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
