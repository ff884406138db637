"""RunningProcesses: what a ProcessKernel has while it is started."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from eskernel.actors.journal import log_safely
from eskernel.actors.runtime import STOPPED
from eskernel.actors.supervision import ChildSpec, Supervisor
from eskernel.errors import KernelStopped
from eskernel.processes.fleet import Fleet
from eskernel.processes.supervising import WorkerSupervisor
from eskernel.remote.router import Router
from eskernel.remote.running import LOOK_AGAIN, Member, Running
from eskernel.remote.slot import Slot

_START_PATIENCE: Final = 60.0  # seconds
_EXITS_WITHIN: Final = 1.0
"""Seconds that a process may take to exit after its kernel has stopped."""


class ProcessSupervisor(Supervisor):
    """The root in the parent: the pool for callbacks, and the supervisor of the workers."""


class RunningProcesses(Running):
    """The workers and who supervises them.

    Args:
        fleet: the workers.
        router: from commands to shards.
        workers: of each shard, the index of its worker.
    """

    supervisor = ProcessSupervisor

    def __init__(self, fleet: Fleet, router: Router, workers: Sequence[int]) -> None:
        super().__init__(router, [one.slot for one in fleet.slots])
        self._fleet = fleet
        self._workers = workers

    def start(self) -> None:
        """Start the workers, and wait until all serve."""
        try:
            self._start()
        except BaseException:
            self.stop(0.0)
            raise

    def _start(self) -> None:
        fleet = self._fleet
        self.start_root(
            ChildSpec("worker-supervisor", lambda: WorkerSupervisor.start(fleet)),
        )
        deadline = time.monotonic() + _START_PATIENCE
        while not all(one.child for one in fleet.slots):
            if fleet.error is not None:
                raise fleet.error
            if time.monotonic() > deadline:
                raise KernelStopped(f"its workers did not come up within {_START_PATIENCE:g} s")
            time.sleep(LOOK_AGAIN)
        fleet.started = True

    def stop(self, timeout: float) -> bool:
        """End the workers; those that do not end in time are killed."""
        deadline = time.monotonic() + timeout + _EXITS_WITHIN
        fleet = self._fleet
        self.over.set()
        children = fleet.end()
        for slot in self.slots:
            slot.close(STOPPED)
        serving = {one.child: one.slot for one in fleet.slots if one.child}
        for child in children:
            if child in serving:
                serving[child].stop(timeout)
            else:
                child.channel.close()
        ended = [child.end(max(0.0, deadline - time.monotonic())) for child in children]
        self.stop_root()
        fleet.clear(_EXITS_WITHIN)
        for slot in self.slots:
            slot.lose("the kernel was stopped")
        self.callbacks.close()
        if not all(ended):
            log_safely("warning", "workers_killed", count=ended.count(False))
        return all(ended)

    def slot_of(self, shard: int) -> Slot:
        """Return the slot of a shard's worker."""
        return self.slots[self._workers[shard]]

    def members(self) -> list[Member]:
        """Return the workers."""
        return [one.member() for one in self._fleet.slots]

    def pids(self) -> list[int | None]:
        """Return the process id of each worker; None where there is none."""
        children = [one.child for one in self._fleet.slots]
        return [None if child is None else child.pid for child in children]

    def abandon(self) -> None:
        """Close the copies of the parent's sockets."""
        for child in list(self._fleet.children):
            child.abandon()
