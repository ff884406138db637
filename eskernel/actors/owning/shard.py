"""Shard: what this kernel knows of one shard's lease."""

from __future__ import annotations

import threading
from typing import Final, NamedTuple

from eskernel.contracts import Fence
from eskernel.errors import EskernelError
from eskernel.leasing import RENEWALS
from eskernel.values import Lease

_NEVER: Final = float("-inf")


class Standing(NamedTuple):
    """Whose a shard is, as far as this kernel knows; times are of its monotonic clock.

    Attributes:
        fence: what this kernel's appends carry; None unless the lease was its own at last sight.
        until: when it has run out here, which is before it does in the store.
        owner: of a lease that is another's.
        free_at: when that runs out, unless it is renewed.
        ask_at: when to ask again for one that is another's.
        asked: when the store was asked that told all this.
    """

    fence: Fence | None = None
    until: float = _NEVER
    owner: str = ""
    free_at: float = _NEVER
    ask_at: float = _NEVER
    asked: float = _NEVER


class Shard:
    """One shard, as all threads of a kernel see it.

    Attributes:
        number: from 0 on.
        name: of its lease.
        standing: whose it is; replaced as a whole, so that nobody compares one lease's fence and
            then looks at another's time.
        used: when it got its last command, on the kernel's monotonic clock; set before the lease
            is asked for.
        asking: held by whoever asks the store for the lease or gives it back, so that the store
            never hears the two in another order than they were meant. A bare lock, see `Inbox`.
        asks: how often asking has come to an end. Those who wait for `asking` tell by it that
            somebody has asked for them.
        failure: why the last asking failed, or None.
    """

    __slots__ = ("_learning", "asking", "asks", "failure", "name", "number", "standing", "used")

    def __init__(self, number: int, name: str) -> None:
        self.number = number
        self.name = name
        self.standing = Standing()
        self.used = _NEVER
        self.asking = threading.Lock()
        self.asks = 0
        self.failure: EskernelError | None = None
        # Guards replacing `standing`: what the store was asked later is what counts, although
        # renewals, askers and failed appends tell it on threads of their own.
        self._learning = threading.Lock()

    def is_touched(self) -> bool:
        """Return whether its lease may ever have been asked for; who asked may not know the end."""
        return self.used > _NEVER

    def learn(self, lease: Lease, owner: str, seconds: float, asked: float) -> None:
        """Note what the store has said.

        A lease of an epoch that is known keeps its very Fence: who compares them by identity sees
        whether anybody else can have had it in between.

        Args:
            lease: the shard's.
            owner: this kernel.
            seconds: how long its leases are valid.
            asked: when it began to ask. The lease begins later, and so ends here before it does
                there.
        """
        end = asked + lease.seconds
        with self._learning:
            known = self.standing
            if asked < known.asked:
                return
            if lease.owner != owner:
                ask_at = min(end, asked + seconds / RENEWALS)
                self.standing = Standing(None, _NEVER, lease.owner, end, ask_at, asked)
                return
            fence = known.fence
            if fence is None or fence.epoch != lease.epoch:
                fence = Fence(self.name, lease.epoch)
            self.standing = Standing(fence, end, asked=asked)

    def lose(self, fence: Fence | None, now: float) -> None:
        """Note that a lease is this kernel's no more; it is asked for at the next command."""
        with self._learning:
            if self.standing.fence is fence:
                self.standing = Standing(asked=now)
