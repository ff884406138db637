"""Running: what a ProcessKernel has while it is started."""

from __future__ import annotations

import time
from functools import partial
from typing import Any, Final

from pykka import ActorRef

from eskernel.actors.journal import log_safely
from eskernel.actors.pool import ActorPool, JobQueue
from eskernel.actors.runtime import STOPPED
from eskernel.actors.supervision import ChildSpec, Supervisor, stop_and_wait
from eskernel.actors.tree import Node, children_of
from eskernel.errors import KernelStopped
from eskernel.processes.fleet import Fleet
from eskernel.processes.minding import Minder

_START_PATIENCE: Final = 60.0  # seconds
_LOOK_AGAIN: Final = 0.005  # seconds
_LAST_WORDS: Final = 1.0
"""Seconds that a process may take to exit after its kernel has stopped."""
_CALLBACK_THREADS: Final = 4


class Running:
    """What a ProcessKernel has while it is started.

    Args:
        fleet: the workers.
    """

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.slots = [place.slot for place in fleet.places]
        self.callbacks = JobQueue()
        self._root: ActorRef[Any] | None = None

    def start(self) -> None:
        """Start everything and wait until all places are filled."""
        fleet = self.fleet
        pool = partial(
            ActorPool.start, self.callbacks, _CALLBACK_THREADS, lambda: fleet.stopping, "callbacks"
        )
        self._root = ProcessSupervisor.start(
            [
                ChildSpec("callback-pool", pool),
                ChildSpec("minder", lambda: Minder.start(fleet)),
            ]
        )
        deadline = time.monotonic() + _START_PATIENCE
        while not all(place.child for place in fleet.places):
            if fleet.error is not None:
                raise fleet.error
            if time.monotonic() > deadline:
                raise KernelStopped(f"its workers did not come up within {_START_PATIENCE:g} s")
            time.sleep(_LOOK_AGAIN)

    def stop(self, timeout: float) -> bool:
        """End everything; return whether it ended in time."""
        deadline = time.monotonic() + timeout + _LAST_WORDS
        fleet = self.fleet
        children = fleet.end()
        for slot in self.slots:
            slot.close(STOPPED)
        serving = {place.child: place.slot for place in fleet.places if place.child}
        for child in children:
            if child in serving:
                serving[child].stop(timeout)
            else:
                child.channel.close()
        ended = [child.end(max(0.0, deadline - time.monotonic())) for child in children]
        if self._root is not None:
            stop_and_wait(self._root, _LAST_WORDS)
        fleet.clear(_LAST_WORDS)
        for slot in self.slots:
            slot.lose("the kernel was stopped")
        self.callbacks.close()
        if not all(ended):
            log_safely("warning", "workers_killed", count=ended.count(False))
        return all(ended)

    def node(self, workers: tuple[Node, ...]) -> Node:
        """Return the root of the tree, with these workers below it."""
        root = self._root
        if root is None or not root.is_alive():
            return Node("kernel", ProcessSupervisor.__name__, root, alive=False, children=workers)
        children = children_of(root) + workers
        return Node("kernel", ProcessSupervisor.__name__, root, alive=True, children=children)


class ProcessSupervisor(Supervisor):
    """The root in the parent: the pool for callbacks, and the minder of the workers."""
