"""LeaseKeeper: asks for a lease, renews it, and knows how long it is valid."""

from __future__ import annotations

from typing import Final

from eskernel.contracts import CheckpointStore, Clock

_RENEWALS: Final = 3
"""How often a lease is renewed while it is valid."""
_WITHOUT: Final = 0
"""The epoch of who needs no lease, as nothing is stored."""


class LeaseKeeper:
    """One owner's claim to the checkpoints of a name.

    Attributes:
        epoch: of the lease; None while another owner has it, or nobody knows.
        holder: who has it, as far as is known.
        due: when it is to be asked for again, on the monotonic clock.

    Args:
        store: where it is; None if nothing is stored, and so no lease needed.
        name: whose checkpoints.
        owner: who asks; unique in the world.
        seconds: how long it shall be valid.
        clock: measures that.
    """

    def __init__(
        self, store: CheckpointStore | None, name: str, owner: str, seconds: float, clock: Clock
    ) -> None:
        self._store = store
        self._name = name
        self._owner = owner
        self._seconds = seconds
        self._clock = clock
        self.epoch: int | None = _WITHOUT if store is None else None
        self.holder = ""
        self.due = float("inf") if store is None else clock.monotonic()
        self._valid_until = self.due if store is None else 0.0

    def is_due(self) -> bool:
        """Whether it is time to ask for it."""
        return self._clock.monotonic() >= self.due

    def ask(self) -> bool:
        """Ask for it.

        Returns:
            Whether it has changed hands since it was asked for last.

        Raises:
            StoreUnavailable: the store could not be reached; what was known stays as it is.
        """
        assert self._store is not None, "it is never due without"
        asked = self._clock.monotonic()
        lease = self._store.acquire_lease(self._name, self._owner, self._seconds)
        epoch = lease.epoch if lease.owner == self._owner else None
        wait = self._seconds / _RENEWALS
        if epoch is None:
            wait = min(wait, max(lease.seconds, 0.0))
        self.due = asked + wait  # as its end counts from there
        self._valid_until = asked + lease.seconds
        changed = (epoch, lease.owner) != (self.epoch, self.holder)
        self.epoch, self.holder = epoch, lease.owner
        return changed

    def ask_soon(self) -> None:
        """Have it asked for at the next occasion."""
        if self._store is not None:
            self.due = self._clock.monotonic()

    def is_valid(self) -> bool:
        """Whether it is this owner's, by the clock of this process."""
        return self.epoch is not None and self._clock.monotonic() < self._valid_until

    def lose(self) -> None:
        """Note that another owner has it."""
        self.epoch = None
        self.ask_soon()

    def release(self) -> None:
        """Give it back, if it is held.

        Raises:
            StoreUnavailable: it could not be done; the lease then runs out.
        """
        epoch, self.epoch = self.epoch, None
        if self._store is not None and epoch is not None:
            self._store.release_lease(self._name, self._owner)
