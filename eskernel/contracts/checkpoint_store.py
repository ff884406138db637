"""CheckpointStore: where consumers of the log keep how far they have come, and their state.

`eskernel.testing.check_checkpoint_store` is this contract in executable form.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from eskernel.values import SERVING, Checkpoint, Lease


@runtime_checkable
class CheckpointStore(Protocol):
    """Keeps checkpoints and leases by name; every method may be called from many threads.

    A name is a string of 1 to 255 characters, as an aggregate id. It has any number of slots,
    named likewise, each with one checkpoint; all of a name are guarded by one lease.

    What a method has returned survives a power cut, unless the store says otherwise. A store that
    only one process at a time can have open may forget who holds a lease when it is closed, but
    never its epoch.
    """

    def load_checkpoint(self, name: str, slot: str = SERVING) -> Checkpoint | None:
        """Return the checkpoint in a slot, or None.

        Sees every save acknowledged before it began.

        Raises:
            StoreUnavailable: the store could not be reached.
            CorruptStore: the checkpoint is damaged.
        """
        ...

    def save_checkpoints(
        self, name: str, epoch: int, slots: Mapping[str, Checkpoint | None]
    ) -> None:
        """Replace the checkpoints in some slots of a name, in one atomic and durable write.

        Other slots stay as they are. A reader sees all of it or nothing. A save under a larger
        epoch than the lease's ends the lease, for its owner can save no more.

        Args:
            name: whose checkpoints.
            epoch: of the lease the caller holds, or any number that never falls for callers
                without one. The checkpoints are stored with it, whatever they say themselves.
            slots: from slot to its new checkpoint, or to None to empty it.

        Raises:
            StaleEpoch: the name has seen a larger epoch, in a save or a lease; nothing is stored.
            StoreUnavailable: the store could not be reached; `outcome_unknown` tells whether it
                may be stored all the same.
        """
        ...

    def acquire_lease(self, name: str, owner: str, seconds: float) -> Lease:
        """Take a name's lease, or renew it, if no other owner holds a valid one.

        The owner who still holds it, even if it has run out, keeps its epoch; a new owner, or one
        who had released it, gets an epoch larger than any the name has seen. Time is the server's,
        or the machine's for a store without one.

        Args:
            name: what to hold.
            owner: who asks, 1 to 255 characters; unique in the world.
            seconds: how long it shall be valid; 0 for a lease anybody may take over at once.

        Returns:
            The lease as it now is: the caller's, or another owner's.

        Raises:
            ValueError: `seconds` is negative, or no number.
            StoreUnavailable: the store could not be reached.
        """
        ...

    def release_lease(self, name: str, owner: str) -> None:
        """Give a lease back; does nothing if somebody else, or nobody, holds it.

        Saves under its epoch are stored until somebody has got a larger one.

        Raises:
            StoreUnavailable: the store could not be reached.
        """
        ...
