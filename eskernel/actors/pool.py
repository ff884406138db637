"""ActorPool: the threads that run aggregates nobody is waiting in front of.

Not a ThreadPoolExecutor: that one's threads keep the interpreter from exiting, and it refuses work
while it exits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import structlog

from eskernel.actors.supervision import SupervisedActor

log = structlog.get_logger("eskernel")

Job = Callable[[], Any]


class JobQueue:
    """Work for the pool; outlives a pool that is restarted, so that no job is lost."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Job | ActorPool] = SimpleQueue()
        self.put = self._jobs.put
        self.get = self._jobs.get
        self.qsize = self._jobs.qsize


class ActorPool(SupervisedActor):
    """Keeps `size` daemon threads taking jobs; a job that raises costs its thread nothing.

    Args:
        jobs: where the jobs come from.
        size: number of threads.
    """

    patience = 2.0
    """Seconds a stopping pool waits for each thread's last job."""

    def __init__(self, jobs: JobQueue, size: int) -> None:
        super().__init__()
        self._jobs = jobs
        self._size = size
        self._threads: list[threading.Thread] = []

    def on_start(self) -> None:
        """Start the threads."""
        for number in range(self._size):
            name = f"eskernel-pool-{number}"
            self._threads.append(threading.Thread(target=self._work, name=name, daemon=True))
            self._threads[-1].start()

    def on_stop(self) -> None:
        """Let the threads finish the jobs queued so far, and end."""
        for _ in self._threads:
            self._jobs.put(self)
        for thread in self._threads:
            thread.join(self.patience)

    def on_failure(self, *_exc_info: Any) -> None:
        """End the threads: the next pool has its own."""
        self.on_stop()

    def _work(self) -> None:
        ended = False
        while not ended:
            try:
                ended = self._work_one()
            except BaseException as error:
                log.error("pool_job_failed", exc_info=error)

    def _work_one(self) -> bool:
        """Run one job; return whether this was the token that ends a thread of this pool."""
        job = self._jobs.get()
        if isinstance(job, ActorPool):
            if job is not self:  # for a thread of another pool
                self._jobs.put(job)
            return job is self
        job()
        return False
