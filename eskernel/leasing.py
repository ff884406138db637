"""LeaseKeeper: asks for a lease, renews it, and knows how long it is valid."""

from __future__ import annotations

import os
import platform
import uuid
from typing import Final, NamedTuple

from eskernel.contracts import CheckpointStore, Clock

RENEWALS: Final = 3
"""How often a lease is renewed while it is valid."""


class _Held(NamedTuple):
    epoch: int | None
    until: float  # on this process's monotonic clock


_NOT_HELD: Final = _Held(None, 0.0)
_NOT_NEEDED: Final = _Held(0, float("inf"))
"""Of who stores nothing, and so needs no lease."""


class LeaseKeeper:
    """One owner's claim to the checkpoints of a name; used by one caller at a time.

    Only `holds` may be called beside another call.

    Attributes:
        holder: who has it, as far as is known.
        ask_at: when to ask for it, or to renew it, on the monotonic clock.

    Args:
        store: where it is; None if nothing is stored, and so no lease needed.
        name: whose checkpoints.
        owner: who asks; unique in the world.
        seconds: how long it shall be valid.
        clock: by which its time runs out here.
    """

    def __init__(
        self, store: CheckpointStore | None, name: str, owner: str, seconds: float, clock: Clock
    ) -> None:
        self._leases = store
        self._name = name
        self._owner = owner
        self._seconds = seconds
        self._clock = clock
        # Replaced as a whole, so that `holds` never compares one lease's epoch and then looks at
        # another's time.
        self._held = _NOT_NEEDED if store is None else _NOT_HELD
        self.holder = ""
        self.ask_at = float("inf") if store is None else clock.monotonic()

    @property
    def epoch(self) -> int | None:
        """Of the lease this one has got; None while another has it, or nobody knows."""
        return self._held.epoch

    def is_due(self) -> bool:
        """Whether it is time to ask for it."""
        return self._clock.monotonic() >= self.ask_at

    def ask(self) -> bool:
        """Take the lease or renew it, if nobody else has it.

        Returns:
            Whether it has changed hands since it was asked for last.

        Raises:
            StoreUnavailable: the store could not be reached; what was known stays as it is.
        """
        assert self._leases is not None, "it is never due without"
        asked = self._clock.monotonic()  # it begins later, and so ends here before it does there
        lease = self._leases.acquire_lease(self._name, self._owner, self._seconds)
        before = (self.epoch, self.holder)
        wait = self._seconds / RENEWALS
        if lease.owner == self._owner:
            self._held = _Held(lease.epoch, asked + lease.seconds)
        else:
            self._held = _NOT_HELD
            wait = min(wait, lease.seconds)
        self.ask_at = asked + wait
        self.holder = lease.owner
        return (self.epoch, self.holder) != before

    def ask_soon(self) -> None:
        """Have it asked for at the next occasion."""
        if self._leases is not None:
            self.ask_at = self._clock.monotonic()

    def holds(self, epoch: int) -> bool:
        """Return whether a lease of this epoch has been got and has not run out by the clock."""
        held = self._held
        return held.epoch == epoch and self._clock.monotonic() < held.until

    def is_valid(self) -> bool:
        """Whether it is this owner's, by the clock of this process."""
        return self.epoch is not None and self.holds(self.epoch)

    def lose(self) -> None:
        """Note that another owner has it; it is asked for at once."""
        self._held = _NOT_HELD
        self.ask_soon()

    def release(self) -> None:
        """Give it back, if it is held.

        Raises:
            StoreUnavailable: it could not be done; the lease then runs out.
        """
        epoch, self._held = self.epoch, _NOT_HELD
        if self._leases is not None and epoch is not None:
            self._leases.release_lease(self._name, self._owner)


def new_owner() -> str:
    """Return a name to ask for leases by, unique in the world: machine, process and chance."""
    return f"{platform.node()[:100]}/{os.getpid()}/{uuid.uuid4()}"
