"""Crew: runs what is brought on one thread at a time, and more only if one takes long."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final

from eskernel.actors.pool import Job, run_job

_LONG: Final = 0.005
"""Seconds after which what waits behind a job is run by others."""
_OTHERS: Final = 8
"""Threads that run what waits; as many as a kernel's pool has."""


class Crew:
    """A queue of jobs, run by whoever brings some while nobody runs any.

    Threads that calculate only take the interpreter from one another: measured with commands of a
    millisecond, eight at a time cost a fifth more than one after another. So one thread runs jobs,
    and a watcher looks whether it gets on.

    Invariants:

    - A job leaves the queue in one step, so it is run once.
    - Who brings jobs puts them into the queue before it looks whether somebody runs, and who runs
      looks into the queue after it has stopped. So no job is left there with nobody to run it.

    Args:
        flush: sends the answers there are; called when jobs behind which they wait take long.
    """

    def __init__(self, flush: Callable[[], Any]) -> None:
        self._flush = flush
        self._jobs: deque[Job] = deque()
        self._running = threading.Lock()  # held by the thread that runs jobs
        self._begun = 0  # jobs that it has begun
        self._told = threading.Event()
        self._over = False
        self._others = ThreadPoolExecutor(_OTHERS, thread_name_prefix="eskernel-crew")

    def start(self) -> None:
        """Begin to watch."""
        threading.Thread(target=self._watch, name="eskernel-crew", daemon=True).start()

    def bring(self, jobs: Iterable[Job]) -> None:
        """Add jobs, to be begun in order."""
        self._jobs.extend(jobs)

    def run(self) -> None:
        """Run the jobs there are on this thread, unless another does; both see that all are run."""
        if self._running.locked() or len(self._jobs) > 1:
            self._told.set()
        while self._jobs and self._running.acquire(blocking=False):
            try:
                while (job := self._next()) is not None:
                    self._begun += 1
                    run_job(job)
            finally:
                self._running.release()

    def close(self) -> None:
        """Watch no more, and begin nothing more elsewhere."""
        self._over = True
        self._told.set()
        self._others.shutdown(wait=False, cancel_futures=True)

    def _watch(self) -> None:
        while not self._over:
            self._told.wait()
            self._told.clear()
            while (self._jobs or self._running.locked()) and not self._over:
                begun = self._begun
                time.sleep(_LONG)
                if self._begun == begun:
                    self._relieve()

    def _relieve(self) -> None:
        """Have others run what waits behind a job that takes long, and its answers leave."""
        with suppress(RuntimeError):  # closed meanwhile: nothing more is begun
            while (job := self._next()) is not None:
                self._others.submit(run_job, job)
        self._flush()

    def _next(self) -> Job | None:
        try:
            return self._jobs.popleft()
        except IndexError:
            return None
