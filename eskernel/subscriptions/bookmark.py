"""Bookmark: the stored position of a name, and the lease that says who may move it."""

from __future__ import annotations

from eskernel.contracts import CheckpointStore, Clock
from eskernel.leasing import LeaseKeeper
from eskernel.values import SERVING, Checkpoint


class Bookmark(LeaseKeeper):
    """A lease with the position it guards: asked for, loaded and saved one caller at a time.

    Only `holds` may be called beside another call.

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
        super().__init__(store, key, owner, lease_seconds, clock)
        self._store = store
        self._stored = start
        self._start = start

    @property
    def position(self) -> int:
        """The position that is stored, as far as is known here."""
        return self._stored.position

    def load(self, epoch: int) -> int:
        """Return the position that is stored; the start is, if none was before.

        So whoever takes over from a feed that has saved nothing begins where that one began.

        Raises:
            StaleEpoch, StoreUnavailable: as `save`.
            CorruptStore: it is damaged.
        """
        found = self._store.load_checkpoint(self._name)
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
        self._store.save_checkpoints(self._name, epoch, {SERVING: moved})
        self._stored = moved
