"""ShardKeeper: renews the leases that its kernel holds, and gives back what it does not use."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from eskernel.actors.journal import log_and_go_on
from eskernel.actors.supervision import SupervisedActor
from eskernel.leasing import RENEWALS

if TYPE_CHECKING:
    from eskernel.actors.aggregate.services import Services
    from eskernel.actors.owning.shards import Shards

_LONGEST_TICK: Final = 60.0  # seconds


class ShardKeeper(SupervisedActor):
    """Keeps the leases of the shards in use, with one question to the store for all of them.

    While the store is down they run out by the clock; whoever needs one then asks for it.

    Args:
        services: what the aggregates share.
        shards: the kernel's.
    """

    def __init__(self, services: Services, shards: Shards) -> None:
        super().__init__()
        self._services = services
        self._shards = shards
        self._tick = min(shards.seconds / RENEWALS, _LONGEST_TICK)
        self._is_down = False

    def on_start(self) -> None:
        """Look at once: this one may come after one that has failed."""
        self.wake_at = time.monotonic()

    def on_wake(self) -> None:
        """Renew, then give back; log once that it cannot be done."""
        begun = time.monotonic()
        try:
            self._shards.release_predecessor()
            self._shards.renew()
            self._shards.give_back_unused(self._services.routes)
            self._is_down = False
        except Exception as error:  # noqa: BLE001 - the leases run out, and it looks again
            if not self._is_down:
                log_and_go_on("warning", "shard_leases_not_renewed", error=error)
            self._is_down = True
        self.wake_at = max(begun + self._tick, time.monotonic())

    def on_stop(self) -> None:
        """Give all back when the kernel stops: its committer has ended, and stores nothing more."""
        if self._services.refusal is None:
            return  # another tree follows, and goes on with them
        try:
            self._shards.close()
        except Exception as error:  # noqa: BLE001 - they run out
            log_and_go_on("warning", "shard_leases_not_given_back", error=error)
