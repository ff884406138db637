"""WorkerSupervisor: keeps a worker process in every slot, and some in reserve.

A Python interpreter takes some tenths of a second to start, longer on a busy machine. So a spare
process waits with everything imported and its stores open, and takes a dead one's slot within
milliseconds.
"""

from __future__ import annotations

import random
import time
from functools import partial
from typing import Any, Final

from eskernel.actors.journal import log_and_go_on
from eskernel.actors.supervision import Backoff, SupervisedActor
from eskernel.processes.child import Child
from eskernel.processes.fleet import NEWS, Fleet, WorkerSlot

_BACKOFF: Final = Backoff(first=0.05, longest=5.0)
_STABLE: Final = 1.0
"""Seconds a process must have served for its end to count as the first."""
_TICK: Final = 0.1  # seconds between two looks at calls that wait for a process
_LAST_WORDS: Final = 1.0
"""Seconds that a process may take to exit once it has closed its socket."""


class WorkerSupervisor(SupervisedActor):
    """The supervisor of worker processes, each in a slot of the routing table.

    Starting takes time, and so does waiting for an end: threads do that, and tell the supervisor.

    Args:
        fleet: the workers.
    """

    def __init__(self, fleet: Fleet) -> None:
        super().__init__()
        self._fleet = fleet
        self._rng = random.Random()  # noqa: S311 - jitter

    def on_start(self) -> None:
        """Announce itself, and look what is missing."""
        self._fleet.supervisor = self.actor_ref
        self.on_wake()

    def on_wake(self) -> None:
        """Fill slots, keep spares, and answer calls that have waited for too long."""
        fleet = self._fleet
        while fleet.news:
            fleet.news.popleft()()
        fleet.spares = [child for child in fleet.spares if self._is_alive(child)]
        for worker in fleet.slots:
            if worker.child is None:
                worker.slot.expire()
                self._fill(worker)
            elif not worker.child.is_alive():
                worker.child.channel.close()  # a fork of its may have a copy of the socket
        missing = sum(worker.due is not None for worker in fleet.slots) + fleet.wanted_spares
        while len(fleet.spares) + fleet.starting < missing and self._may_start():
            fleet.in_thread(self._start_one)  # or raises, and nothing is counted
            fleet.starting += 1
        self.wake_at = time.monotonic() + _TICK

    def on_receive(self, message: Any) -> Any:
        """Look at once: there is news."""
        return self.on_wake() if message is NEWS else super().on_receive(message)

    def _may_start(self) -> bool:
        return not self._fleet.stopping and self._fleet.due <= time.monotonic()

    def _is_alive(self, child: Child) -> bool:
        """Return whether a spare lives; one that does not counts as one that did not start."""
        if child.is_alive():
            return True
        self._fleet.in_thread(partial(self._fleet.forget, child))
        if not self._fleet.stopping:
            log_and_go_on("error", "spare_ended", pid=child.pid)
            self._fleet.failed += 1
            self._fleet.due = self._after(self._fleet.failed)
        return False

    def _fill(self, worker: WorkerSlot) -> None:
        """Put a spare into a slot, if both are ready."""
        if worker.due is not None and worker.due <= time.monotonic() and self._fleet.spares:
            # In this order: if no thread can be had, both stay ready.
            self._fleet.in_thread(partial(self._serve, worker, self._fleet.spares[-1]))
            self._fleet.spares.pop()
            worker.due = None

    # On threads of their own.

    def _start_one(self) -> None:
        try:
            child = self._fleet.new_child()
        except Exception as error:  # noqa: BLE001 - whatever a module or a store raises
            self._fleet.tell(partial(self._on_not_started, error))
        else:
            if child is not None:
                self._fleet.tell(partial(self._on_spare, child))

    def _serve(self, worker: WorkerSlot, child: Child) -> None:
        """Have a process fill a slot, until it ends."""
        leases = self._fleet.leases(worker)
        try:
            child.serve(leases)
        except Exception as error:  # noqa: BLE001 - whatever starting a kernel raises
            self._fleet.forget(child)
            self._fleet.tell(partial(self._on_not_serving, worker, error))
            return
        self._fleet.tell(partial(self._on_serving, worker, child, leases))
        try:
            self._listen(worker, child)
        except (EOFError, OSError):
            child.channel.close()
        except Exception as error:  # noqa: BLE001 - it does not speak as it should
            log_and_go_on("error", "worker_not_understood", worker=worker.name, exc_info=error)
            child.channel.close()
        child.end(_LAST_WORDS)
        child.channel.dispose()
        self._fleet.tell(partial(self._on_ended, worker, child))

    def _listen(self, worker: WorkerSlot, child: Child) -> None:
        """Take what a process says; raises EOFError or OSError at its end."""
        while True:
            if worker.slot.hear(child.channel.receive()):
                worker.slot.pause(f"worker process {child.pid} was told to end")
                self._fleet.in_thread(child.channel.finish)

    # What they have found out.

    def _on_spare(self, child: Child) -> None:
        self._fleet.starting -= 1
        self._fleet.failed = 0
        self._fleet.spares.append(child)

    def _on_not_started(self, error: Exception) -> None:
        fleet = self._fleet
        fleet.starting -= 1
        if fleet.stopping:
            return
        fleet.error = error
        if fleet.started:  # else `start` raises it
            log_and_go_on("error", "worker_not_started", reason=error)
        if self._may_start():  # else it was started together with one that failed
            fleet.failed += 1
            fleet.due = self._after(fleet.failed)
        for worker in fleet.slots:
            if worker.due is not None:
                worker.slot.down = f"its worker process cannot be started: {error}"

    def _on_not_serving(self, worker: WorkerSlot, error: Exception) -> None:
        if self._fleet.stopping:
            return
        self._fleet.error = error
        if self._fleet.started:
            log_and_go_on("error", "worker_not_serving", worker=worker.name, reason=error)
        self._postpone(worker, f"its worker process cannot serve: {error}")

    def _on_serving(self, worker: WorkerSlot, child: Child, leases: dict[str, Any] | None) -> None:
        worker.child = child
        worker.owner = None if leases is None else leases["owner"]
        worker.since = time.monotonic()
        worker.restarts += 1
        try:
            worker.slot.serve(child.channel)
        except RuntimeError:  # no thread to send by: it is to be replaced
            child.channel.close()
            raise

    def _on_ended(self, worker: WorkerSlot, child: Child) -> None:
        worker.child = None
        self._fleet.children.discard(child)
        worker.slot.lose(child.ended())
        if self._fleet.stopping:
            return
        level = "info" if child.is_as_told() else "error"
        log_and_go_on(level, "worker_ended", worker=worker.name, reason=child.ended())
        if time.monotonic() - worker.since > _STABLE:
            worker.failed = 0
        worker.failed += 1
        worker.due = 0.0 if worker.failed == 1 else self._after(worker.failed)

    def _postpone(self, worker: WorkerSlot, why: str) -> None:
        worker.failed += 1
        worker.slot.down = why
        worker.due = self._after(worker.failed)

    def _after(self, failures: int) -> float:
        return time.monotonic() + _BACKOFF.delay(failures, self._rng)
