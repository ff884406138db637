"""Running: what a RayKernel has while it is started."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import Any, Final

from pykka import ActorRef

from eskernel.actors.journal import log_safely
from eskernel.actors.pool import ActorPool, JobQueue
from eskernel.actors.runtime import STOPPED
from eskernel.actors.supervision import ChildSpec, Supervisor, stop_and_wait
from eskernel.actors.tree import Node
from eskernel.errors import KernelStopped
from eskernel.ray.actors import ShardActors, nodes
from eskernel.ray.balance import moves
from eskernel.ray.slot import RaySlot
from eskernel.ray.tending import Tender

_START_PATIENCE: Final = 60.0  # seconds
_LOOK_AGAIN: Final = 0.005  # seconds
_LAST_WORDS: Final = 1.0
"""Seconds that threads may take to end, and the pool to run the last callbacks."""
_CALLBACK_THREADS: Final = 4
_MOVE_WITHIN: Final = 5.0
"""Seconds that commands under way may take before a shard that is to be moved stays."""


class Running:
    """The lines to all shards, and the threads behind them.

    Args:
        actors: of the shards.
        slots: one a shard.
        balance_every: seconds between two looks whether nodes have come; None for never.
    """

    def __init__(
        self, actors: ShardActors, slots: list[RaySlot], balance_every: float | None
    ) -> None:
        self.actors = actors
        self.slots = slots
        self.callbacks = JobQueue()
        self.tenders = [Tender(actors, index, slot) for index, slot in enumerate(slots)]
        self._every = balance_every
        self._over = threading.Event()
        self._root: ActorRef[Any] | None = None

    def start(self) -> None:
        """Find or make the shards, and wait until all are open; if that fails, undo it."""
        try:
            self._start()
        except BaseException:
            self.stop(0.0)
            for tender in self.tenders:
                tender.undo()
            raise

    def _start(self) -> None:
        pool = partial(
            ActorPool.start, self.callbacks, _CALLBACK_THREADS, self._over.is_set, "callbacks"
        )
        self._root = RaySupervisor.start([ChildSpec("callback-pool", pool)])
        for tender in self.tenders:
            tender.start()
        deadline = time.monotonic() + _START_PATIENCE
        while not all(tender.lives for tender in self.tenders):
            for tender in self.tenders:
                if tender.failure is not None:
                    raise tender.failure
            if time.monotonic() > deadline:
                down = next(one.slot.down for one in self.tenders if not one.lives)
                raise KernelStopped(
                    f"its shards did not come up within {_START_PATIENCE:g} s, as {down}; "
                    "see with `ray status` that the cluster has nodes which can run them"
                )
            time.sleep(_LOOK_AGAIN)
        if self._every is not None:
            threading.Thread(
                target=self._balance_on_news, name="eskernel-balance", daemon=True
            ).start()

    def stop(self, timeout: float) -> bool:
        """Let go of the shards, which run on; return whether all that was sent was answered."""
        deadline = time.monotonic() + timeout
        self._over.set()
        for slot in self.slots:
            slot.close(STOPPED)
        while any(slot.is_waited_for() for slot in self.slots) and time.monotonic() < deadline:
            time.sleep(_LOOK_AGAIN)
        answered = not any(slot.is_waited_for() for slot in self.slots)
        for tender in self.tenders:
            tender.close()
        deadline = max(deadline, time.monotonic()) + _LAST_WORDS
        for tender in self.tenders:
            tender.join(max(0.0, deadline - time.monotonic()))
        if self._root is not None:
            stop_and_wait(self._root, _LAST_WORDS)
        self.callbacks.close()
        return answered

    def rebalance(self, timeout: float = _MOVE_WITHIN) -> int:
        """Move shards until every node has its share; return how many were moved."""
        moved = 0
        for index, node in moves(self.actors.places(), nodes()):
            try:
                done = self.actors.move(index, node, timeout)
            except Exception as error:  # noqa: BLE001 - it died or is being moved: Ray's to mend
                log_safely("warning", "shard_not_moved", shard=index, reason=error)
            else:
                moved += done
        return moved

    def node(self, below: tuple[Node, ...]) -> Node:
        """Return the root of the tree."""
        root = self._root
        alive = root is not None and root.is_alive()
        return Node("kernel", RaySupervisor.__name__, root, alive, children=below)

    def _balance_on_news(self) -> None:
        """Rebalance when nodes have come and are still there at the next look."""
        assert self._every is not None
        settled, seen = set(nodes()), set(nodes())
        while not self._over.wait(self._every):
            try:
                now = set(nodes())
                if now == seen and now - settled:
                    self.rebalance()
                if now == seen:
                    settled = now
                seen = now
            except Exception as error:  # noqa: BLE001 - Ray may be away for a while
                log_safely("warning", "nodes_not_seen", reason=error)


class RaySupervisor(Supervisor):
    """The root in a front: the pool for callbacks."""
