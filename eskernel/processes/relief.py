"""Relief: one command that takes long holds up none of those that came with it."""

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
"""Seconds after which the rest of a batch is run elsewhere."""
_OTHERS: Final = 8
"""Threads that run what is left of batches; as many as a kernel's pool has."""


class Relief:
    """Runs batches on the threads that bring them, and what waits for too long on others.

    To run a batch on one thread costs the least, as long as none of its jobs takes long.

    Args:
        flush: sends the answers there are; called when jobs behind which they wait take long.
    """

    def __init__(self, flush: Callable[[], Any]) -> None:
        self._flush = flush
        # By identity, the batches that are being run. Entered by their runners before they look
        # whether the watcher is told; taken out by these, or by the watcher when it has seen to
        # them. Jobs leave a batch one by one, each in one step: so each is run once.
        self._batches: dict[int, deque[Job]] = {}
        self._told = threading.Event()
        self._over = False
        self._others = ThreadPoolExecutor(_OTHERS, thread_name_prefix="eskernel-relief")

    def start(self) -> None:
        """Begin to watch."""
        threading.Thread(target=self._watch, name="eskernel-relief", daemon=True).start()

    def run(self, jobs: Iterable[Job]) -> None:
        """Run jobs on this thread, in order; others help out when one takes long."""
        batch = deque(jobs)
        if len(batch) > 1:
            self._batches[id(batch)] = batch
            if not self._told.is_set():
                self._told.set()
        while (job := _next(batch)) is not None:
            run_job(job)
        self._batches.pop(id(batch), None)

    def close(self) -> None:
        """Watch no more, and begin nothing more."""
        self._over = True
        self._told.set()
        self._others.shutdown(wait=False, cancel_futures=True)

    def _watch(self) -> None:
        while True:
            self._told.wait()
            self._told.clear()
            while self._batches and not self._over:
                before = [(batch, len(batch)) for batch in list(self._batches.values())]
                time.sleep(_LONG)
                for batch, left in before:
                    if len(batch) == left and id(batch) in self._batches:
                        self._relieve(batch)
            if self._over:
                return

    def _relieve(self, batch: deque[Job]) -> None:
        """Have others run what is left of a batch whose runner is busy."""
        self._batches.pop(id(batch), None)
        with suppress(RuntimeError):  # closed meanwhile: nothing more is begun
            while (job := _next(batch)) is not None:
                self._others.submit(run_job, job)
        self._flush()


def _next(batch: deque[Job]) -> Job | None:
    try:
        return batch.popleft()
    except IndexError:
        return None
