"""Bookmark: the stored position of a name, and the lease that says who may move it."""

from __future__ import annotations

from typing import Final, NamedTuple

from eskernel.contracts import CheckpointStore, Clock
from eskernel.values import SERVING, Checkpoint

_RENEWALS: Final = 3
"""How often a lease is renewed while it is valid."""


class _Held(NamedTuple):
    epoch: int | None
    until: float  # on this process's monotonic clock


_NOT_HELD: Final = _Held(None, 0.0)


class Bookmark:
    """Asks for the lease of a name, and loads and saves its position, one caller at a time.

    Only `holds` may be called beside another call.

    Attributes:
        ask_at: when to ask for the lease, or to renew it, on the monotonic clock.

    Args:
        store: where lease and position are.
        key: the name they have there.
        owner: who asks for the lease; unique in the world.
        lease_seconds: how long a lease is valid.
        clock: by which its time runs out here.
        start: the position of a name that has none yet; with its version and notes.
    """

    def __init__(
        self,
        store: CheckpointStore,
        key: str,
        owner: str,
        lease_seconds: float,
        clock: Clock,
        start: Checkpoint,
    ) -> None:
        self._store = store
        self._key = key
        self._owner = owner
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._stored = start
        self._start = start
        # Replaced as a whole, so that `holds` never compares one lease's epoch and then looks at
        # another's time.
        self._held = _NOT_HELD
        self.ask_at = clock.monotonic()

    @property
    def epoch(self) -> int | None:
        """Of the lease this one has got; None without one."""
        return self._held.epoch

    @property
    def position(self) -> int:
        """The position that is stored, as far as is known here."""
        return self._stored.position

    def holds(self, epoch: int) -> bool:
        """Return whether a lease of this epoch has been got and has not run out by the clock."""
        held = self._held
        return held.epoch == epoch and self._clock.monotonic() < held.until

    def ask(self) -> None:
        """Take the lease or renew it, if nobody else has it; raises StoreUnavailable."""
        asked = self._clock.monotonic()  # it begins later, and so ends here before it does there
        lease = self._store.acquire_lease(self._key, self._owner, self._lease_seconds)
        wait = self._lease_seconds / _RENEWALS
        if lease.owner == self._owner:
            self._held = _Held(lease.epoch, asked + lease.seconds)
        else:
            self._held = _NOT_HELD
            wait = min(wait, lease.seconds)
        self.ask_at = asked + wait

    def load(self, epoch: int) -> int:
        """Return the position that is stored; the start is, if none was before.

        So whoever takes over from a feed that has saved nothing begins where that one began.

        Raises:
            StaleEpoch, StoreUnavailable: as `save`.
            CorruptStore: it is damaged.
        """
        found = self._store.load_checkpoint(self._key)
        self._stored = found or self._start
        if found is None:
            self.save(epoch, self._start.position)
        return self._stored.position

    def save(self, epoch: int, position: int) -> None:
        """Store a position, with version and notes as they were found.

        Raises:
            StaleEpoch: another process has taken over; nothing was stored.
            StoreUnavailable: it may be stored or not; saving it again does no harm.
        """
        moved = self._stored._replace(position=position)
        self._store.save_checkpoints(self._key, epoch, {SERVING: moved})
        self._stored = moved

    def lose(self) -> None:
        """Note that another process has the lease; it is asked for at once."""
        self._held = _NOT_HELD
        self.ask_at = self._clock.monotonic()

    def release(self) -> None:
        """Give the lease back; raises StoreUnavailable."""
        if self._held.epoch is not None:
            self._held = _NOT_HELD
            self._store.release_lease(self._key, self._owner)
