"""FencingEventStore: an EventStore whose appends can depend on leases.

`eskernel.testing.check_fencing_store` is this contract in executable form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from eskernel.contracts.event_store import Commit
from eskernel.values import Lease


class Fence(NamedTuple):
    """A lease that an append depends on.

    Attributes:
        name: the lease's.
        epoch: of the lease when the append was decided.
    """

    name: str
    epoch: int


@runtime_checkable
class FencingEventStore(Protocol):
    """An EventStore that checks a lease's epoch in the same write that stores the events.

    Whoever had a lease, and lost it to another without noticing, can then append nothing under it:
    there is no moment between the check and the write. And whoever has got a lease under a new
    epoch sees, in every `fold` begun after that, all that was ever stored under smaller ones.

    A store that cannot do this may say why, in an attribute `cannot_fence`, in a clause that goes
    on from "it": `"is open in one process only"`.
    """

    def append_fenced(
        self, commits: Sequence[Commit], fences: Sequence[Fence | None]
    ) -> list[int | Exception]:
        """Store appends as `BatchingEventStore.append_batch`, each only under its fence.

        A commit whose fence is not of the newest epoch of its name gets StaleEpoch, and nothing of
        it is stored; unless this very append, by its `append_id`, was stored before: that is a
        success. A lease that has run out, or was given back, still counts until somebody has got
        a larger epoch. StaleEpoch comes before ConcurrencyConflict.

        Args:
            commits: the appends.
            fences: of each commit, in order, the lease it depends on, or None.
        """
        ...

    def acquire_leases(self, names: Sequence[str], owner: str, seconds: float) -> list[Lease]:
        """Take or renew several leases in one write.

        As `CheckpointStore.acquire_lease` for each; the two share one space of names.

        Args:
            names: what to hold, each once, 1 to 255 characters.
            owner: who asks, 1 to 255 characters; unique in the world.
            seconds: how long they shall be valid.

        Returns:
            Of each name, in order, the lease as it now is: the caller's, or another owner's.

        Raises:
            ValueError: `seconds` is negative, or no number.
            StoreUnavailable: the store could not be reached; some may have been taken.
        """
        ...

    def release_leases(self, names: Sequence[str], owner: str) -> None:
        """Give several leases back in one write; those of others stay as they are.

        Raises:
            StoreUnavailable: the store could not be reached; some may have been given back.
        """
        ...
