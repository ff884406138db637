"""RunningShards: what a RayKernel has while it is started."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Final

from eskernel.actors.journal import log_safely
from eskernel.actors.runtime import STOPPED
from eskernel.actors.supervision import Supervisor
from eskernel.errors import KernelStopped
from eskernel.ray.actors import ShardActors
from eskernel.ray.balance import moves
from eskernel.ray.cluster import nodes
from eskernel.ray.connecting import Connector
from eskernel.ray.slot import RaySlot
from eskernel.remote.router import Router
from eskernel.remote.running import LOOK_AGAIN, Member, Running
from eskernel.remote.slot import Slot

_START_PATIENCE: Final = 60.0  # seconds
_LAST_WORDS: Final = 1.0
"""Seconds that threads may take to end."""
_MOVE_WITHIN: Final = 5.0
"""Seconds that commands under way may take before a shard that is to be moved stays."""


class RaySupervisor(Supervisor):
    """The root in a kernel of a service: the pool for callbacks."""


class RunningShards(Running):
    """The connections to all shards, and the threads behind them.

    Attributes:
        actors: of the shards.

    Args:
        actors: of the shards.
        slots: one a shard.
        router: from commands to shards.
        balance_every: seconds between two looks whether nodes have come; None for never.
    """

    supervisor = RaySupervisor

    def __init__(
        self,
        actors: ShardActors,
        slots: Sequence[RaySlot],
        router: Router,
        balance_every: float | None,
    ) -> None:
        super().__init__(router, slots)
        self.actors = actors
        self._connectors = [Connector(actors, index, slot) for index, slot in enumerate(slots)]
        self._every = balance_every

    def start(self) -> None:
        """Find or make the shards, and wait until all are open; if that fails, undo it."""
        try:
            self._start()
        except BaseException:
            self.stop(0.0)
            for connector in self._connectors:
                connector.undo()
            raise

    def _start(self) -> None:
        self.start_root()
        for connector in self._connectors:
            connector.start()
        deadline = time.monotonic() + _START_PATIENCE
        while not all(connector.lives for connector in self._connectors):
            for connector in self._connectors:
                if connector.failure is not None:
                    raise connector.failure
            if time.monotonic() > deadline:
                down = next(one.slot.down for one in self._connectors if not one.lives)
                raise KernelStopped(
                    f"its shards did not come up within {_START_PATIENCE:g} s, as {down}; "
                    "see with `ray status` that the cluster has nodes which can run them"
                )
            time.sleep(LOOK_AGAIN)
        if self._every is not None:
            threading.Thread(
                target=self._balance_on_news, name="eskernel-balance", daemon=True
            ).start()

    def stop(self, timeout: float) -> bool:
        """Let go of the shards, which run on; return whether all that was sent was answered."""
        deadline = time.monotonic() + timeout
        self.over.set()
        for slot in self.slots:
            slot.close(STOPPED)
        while self._waits() and time.monotonic() < deadline:
            time.sleep(LOOK_AGAIN)
        answered = not self._waits()
        for connector in self._connectors:
            connector.close()
        deadline = max(deadline, time.monotonic()) + _LAST_WORDS
        for connector in self._connectors:
            connector.join(max(0.0, deadline - time.monotonic()))
        self.stop_root()
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

    def slot_of(self, shard: int) -> Slot:
        """Return a shard's slot."""
        return self.slots[shard]

    def members(self) -> list[Member]:
        """Return the shards."""
        return [
            Member(
                f"shard-{index}",
                f"Ray actor {self.actors.name}/{index}",
                one.slot,
                bool(one.lives),
                max(one.lives - 1, 0),
            )
            for index, one in enumerate(self._connectors)
        ]

    def abandon(self) -> None:
        """Do nothing: the threads have stayed with the parent, and so has its connection."""

    def _waits(self) -> bool:
        return any(one.slot.is_waited_for() for one in self._connectors)

    def _balance_on_news(self) -> None:
        """Rebalance when nodes have come and are still there at the next look."""
        assert self._every is not None
        settled: set[str] | None = None
        seen: set[str] = set()
        while True:
            try:
                now = set(nodes())
                if settled is None:
                    settled = now
                if now == seen and now - settled:
                    self.rebalance()
                if now == seen:
                    settled = now
                seen = now
            except Exception as error:  # noqa: BLE001 - Ray may be away for a while
                log_safely("warning", "nodes_not_seen", reason=error)
            if self.over.wait(self._every):
                return
