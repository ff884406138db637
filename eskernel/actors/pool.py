"""ActorPool: the threads that run aggregates nobody is waiting in front of.

Not a ThreadPoolExecutor: that one's threads keep the interpreter from exiting, and it refuses work
while it exits.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from eskernel.actors.journal import log_and_go_on
from eskernel.actors.supervision import SupervisedActor

Job = Callable[[], Any]

_GIVE_WAY = 0.001
"""Seconds in which a thread of another pool can take the token passed on to it."""


class JobQueue:
    """Work for the pool; outlives a pool that is restarted, so that no job is lost."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Job | ActorPool] = SimpleQueue()
        # Set before the last jobs are run, and looked at after a job is put: so either the one who
        # closes or the one who puts sees to it.
        self._closed = False
        self.get = self._jobs.get
        self.qsize = self._jobs.qsize

    def put(self, job: Job | ActorPool) -> None:
        """Queue a job; once closed, run it."""
        self._jobs.put(job)
        if self._closed and not isinstance(job, ActorPool):
            self._run_rest()

    def close(self) -> None:
        """Run on this thread what no pool will take any more, and see to it for later jobs."""
        self._closed = True
        self._run_rest()

    def _run_rest(self) -> None:
        tokens = []
        with suppress(Empty):
            while True:
                job = self.get(block=False)
                if isinstance(job, ActorPool):
                    tokens.append(job)
                else:
                    run_job(job)
        for token in tokens:  # its threads may still wait for it
            self._jobs.put(token)


class ActorPool(SupervisedActor):
    """Keeps `size` daemon threads taking jobs; a job that raises costs its thread nothing.

    Args:
        jobs: where the jobs come from.
        size: number of threads.
        lingers: whether a stopping pool waits for its threads' last jobs, for `patience` seconds.
            Not if there is to be a next pool: that must not be kept waiting.
        name: of its threads, between "eskernel-" and their numbers.
    """

    patience = 2.0

    def __init__(
        self, jobs: JobQueue, size: int, lingers: Callable[[], bool], name: str = "pool"
    ) -> None:
        super().__init__()
        self._jobs = jobs
        self._size = size
        self._lingers = lingers
        self._name = name
        self._threads: list[threading.Thread] = []
        # A thread is among the waiting before it looks at `_ending`, and `_ending` is set before
        # tokens are sent: with no thread waiting, a token of this pool is needed no more.
        self._waiting: set[int] = set()
        self._ending = False

    def on_start(self) -> None:
        """Start the threads."""
        for number in range(self._size):
            name = f"eskernel-{self._name}-{number}"
            thread = threading.Thread(target=self._work, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def on_stop(self) -> None:
        """Let the threads finish the jobs queued so far, and end."""
        self._ending = True
        for _ in self._threads:
            self._jobs.put(self)
        if not self._lingers():
            return
        deadline = time.monotonic() + self.patience
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def on_failure(self, *_exc_info: Any) -> None:
        """End the threads: the next pool has its own."""
        self.on_stop()

    def _work(self) -> None:
        ended = False
        while not ended:
            try:
                ended = self._work_one()
            except BaseException as error:  # noqa: BLE001 - the thread must go on
                log_and_go_on("error", "pool_thread_interrupted", exc_info=error)

    def _work_one(self) -> bool:
        """Run one job; return whether this thread is to end."""
        try:
            job = self._next_job()
        except Empty:
            return True
        if isinstance(job, ActorPool):
            if job is not self and job._waiting:  # noqa: SLF001 - its own class
                self._jobs.put(job)
                time.sleep(_GIVE_WAY)
            return job is self
        run_job(job)
        return False

    def _next_job(self) -> Job | ActorPool:
        """Wait for a job, but not once the pool ends: another thread may have this one's token."""
        me = threading.get_ident()
        self._waiting.add(me)
        try:
            return self._jobs.get(block=not self._ending)
        finally:
            self._waiting.discard(me)


def run_job(job: Job) -> None:
    """Run a job; whatever it raises is logged and goes no further."""
    try:
        job()
    except BaseException as error:  # noqa: BLE001 - see above
        log_and_go_on("error", "pool_job_failed", exc_info=error)
