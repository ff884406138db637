"""ReadModel: what a projection makes of events, and keeps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Protocol

from eskernel.projections.progress import Progress
from eskernel.values import Event

BUILDING: Final = "building"
"""The slot a rebuild fills, beside the one that is serving."""
PREVIOUS: Final = "previous"
"""The slot of what was serving before the last rebuild, kept for a rollback."""


class ReadModel(Protocol):
    """One projection's work, in slots; used by one thread at a time.

    Attributes:
        undoes: whether work that is not committed can be undone. If not, as with callbacks that
            reach out into the world, what has been handled stays handled.
        eager: whether work becomes visible by its commit only, so that each page is committed.
        opening: seconds it took to begin the work handled last: to wait for others who write.
        shared: whether all processes share one copy, which only the holder of the lease may change;
            else each process has its own.
    """

    undoes: bool
    eager: bool
    opening: float
    shared: bool

    def load(self, slot: str) -> Progress | None:
        """Make what is stored current, dropping everything else; None if nothing is stored.

        Raises:
            StoreUnavailable, CorruptStore: the store's.
        """
        ...

    def peek(self, slot: str) -> Progress | None:
        """Return the progress that is stored, and leave everything as it is; raises as `load`."""
        ...

    def begin(self, slot: str, progress: Progress) -> None:
        """Make an empty state current; it is stored with the next commit of the slot.

        Raises:
            Exception: whatever the user's `init` raises.
        """
        ...

    def handle(self, slot: str, events: Iterator[Event]) -> None:
        """Handle events one after another; at a failure, that of the event taken last.

        Raises:
            StoreUnavailable: the store could not be reached; it is not the event's fault.
            Exception: whatever the user's function raises.
        """
        ...

    def is_awaited(self) -> bool:
        """Return whether somebody waits for what is uncommitted to be committed, or undone."""
        ...

    def commit(self, slot: str, progress: Progress, epoch: int | None) -> None:
        """Store what was handled and the progress, together.

        Args:
            slot: which one.
            progress: how far the work has come.
            epoch: of the lease; None without it, which only a model that is not `shared` is told:
                it then notes both for itself.

        Raises:
            StaleEpoch: another process has taken over.
            StoreUnavailable: it failed.
            NotStorable: the state holds something that cannot be stored.
        """
        ...

    def undo(self, slot: str) -> Progress:
        """Drop what was handled since the last commit; return the progress of that commit.

        After a commit of unknown outcome, return what it is in truth.

        Raises:
            StoreUnavailable, CorruptStore: the store's.
        """
        ...

    def close(self) -> None:
        """Drop what is not committed and let go of everything held; harmless at any time."""
        ...


class RebuildableModel(ReadModel, Protocol):
    """A read model that can be built anew beside the one that is serving."""

    def promote(self, serving: Progress, building: Progress, epoch: int) -> None:
        """Let what was built serve, and keep what served as `PREVIOUS`, in one atomic write.

        Everything is committed before.

        Args:
            serving: the progress of what served so far.
            building: the progress to store with what serves from now on.
            epoch: of the lease.

        Raises:
            StaleEpoch, StoreUnavailable: as `commit`; nothing has changed, or the outcome is
                unknown.
        """
        ...

    def roll_back(self, serving: Progress, previous: Progress, epoch: int) -> None:
        """Exchange what serves and `PREVIOUS`, in one atomic write; see `promote`.

        Args:
            serving: the progress of what served so far.
            previous: the progress to store with what serves from now on.
            epoch: of the lease.
        """
        ...

    def read(self, function: Any) -> Any:
        """Return `function(state)` of what serves; raises TypeError if there is no state."""
        ...

    def drop(self, slot: str, epoch: int) -> None:
        """Empty a slot; raises as `commit`."""
        ...
