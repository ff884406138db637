"""Passivation: one timer for all aggregates, and room for new ones."""

from __future__ import annotations

import heapq
import time
from collections import deque

from eskernel.actors.aggregate.routing import Aggregate
from eskernel.actors.aggregate.services import Services
from eskernel.actors.aggregate.turns import Turn
from eskernel.actors.supervision import SupervisedActor

# Aggregates looked at, and ended, before commands get their turn; and the seconds they get.
_LOOKED_AT, _ENDED = 1000, 50
_PAUSE = 0.001
_TICKS_PER_TIMEOUT = 4
_SHORTEST_TICK, _LONGEST_TICK = 0.001, 1.0


class Passivator(SupervisedActor):
    """The timer: ends every aggregate not used for `passivation_timeout` seconds.

    It looks four times per timeout, so an idle aggregate lives at most 1.25 times that long, and
    works in slices, so that thousands ending together delay no command for long.

    Args:
        services: what the aggregates share.
    """

    def __init__(self, services: Services) -> None:
        super().__init__()
        self._services = services
        self._timeout = services.limits.passivation_timeout
        self._tick = min(max(self._timeout / _TICKS_PER_TIMEOUT, _SHORTEST_TICK), _LONGEST_TICK)

    def on_start(self) -> None:
        """Set the first tick."""
        self.wake_at = time.monotonic() + self._tick

    def on_wake(self) -> None:
        """End what is idle, and whatever outlived its supervisor."""
        idle_since = self._services.monotonic() - self._timeout
        turn = self._services.turns.mine
        turn.ours = True
        actors = list(self._services.routes.values())
        for start in range(0, len(actors), _LOOKED_AT):
            if self._services.refusal is not None:
                return  # the kernel stops, and ends them all at once
            some = actors[start : start + _LOOKED_AT]
            self._end_idle([one for one in some if _ends(one, idle_since)], turn, idle_since)
            time.sleep(0)
        if self._services.eviction is not None:  # those that were busy when it was their turn
            self._services.eviction.make_room()
        self.wake_at = time.monotonic() + self._tick

    def _end_idle(self, idle: list[Aggregate], turn: Turn, idle_since: float) -> None:
        for start in range(0, len(idle), _ENDED):
            for actor in idle[start : start + _ENDED]:
                actor.take_turn(turn, 0, idle_since=idle_since)
            time.sleep(_PAUSE)


def _ends(actor: Aggregate, idle_since: float) -> bool:
    return actor.last_used <= idle_since or actor.life.over


class LeastRecentlyUsed:
    """Keeps the number of live aggregates at `max_live_aggregates`; busy ones stay.

    Run by the thread that starts an aggregate, and by the timer. One scan of the table finds the
    oldest eighth; those used since are passed over, so the victim is always the least recently
    used.

    Args:
        services: what the aggregates share.
        limit: aggregates that may be live.
    """

    def __init__(self, services: Services, limit: int) -> None:
        self._services = services
        self._limit = limit
        # Holds the turn of the one thread that evicts; others need not wait for it. Taken and
        # given back in single steps, as in `turns`.
        self._evictor: dict[str, Turn] = {}
        self._oldest: deque[tuple[float, Aggregate]] = deque()

    def make_room(self, newest: Aggregate | None = None) -> None:
        """End aggregates until no more than the limit are live, `newest` not among them."""
        if len(self._services.routes) <= self._limit:
            return
        turn = self._services.turns.mine
        evictor = self._evictor
        try:
            if evictor.setdefault("is", turn) is turn:
                excess = len(self._services.routes) - self._limit
                while excess > 0 and self._evict_one(turn, newest):
                    excess -= 1
        finally:
            # No call here: between two of these steps nothing can interrupt.
            if "is" in evictor and evictor["is"] is turn:
                del evictor["is"]

    def _evict_one(self, turn: Turn, newest: Aggregate | None) -> bool:
        for scanned in (False, True):
            if scanned:
                self._scan()
            while self._oldest:
                last_used, actor = self._oldest.popleft()
                used_since = actor.last_used != last_used
                if actor is newest or used_since or not self._services.routes_to(actor):
                    continue
                if actor.take_turn(turn, 0, idle_since=last_used) and actor.life.over:
                    return True
        return False

    def _scan(self) -> None:
        owners = self._services.owners
        actors = [
            actor
            for actor in list(self._services.routes.values())
            if actor not in owners and not actor.waiting()
        ]
        oldest = heapq.nsmallest(len(actors) // 8 + 2, actors, key=_last_used)
        self._oldest = deque((actor.last_used, actor) for actor in oldest)


def _last_used(actor: Aggregate) -> float:
    return actor.last_used
