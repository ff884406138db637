"""SnapshotStore: where snapshots are kept.

`eskernel.testing.check_snapshot_store` is this contract in executable form.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from eskernel.values import Snapshot, StreamId


@runtime_checkable
class SnapshotStore(Protocol):
    """Keeps the newest snapshots of each stream; every method may be called from many threads."""

    def store(self, snapshot: Snapshot, *, keep: int = 1) -> None:
        """Store a snapshot and forget all but the `keep` of highest sequence of its stream.

        A snapshot of a sequence already stored replaces it.

        Args:
            snapshot: an open or sealed snapshot.
            keep: how many to retain, at least 1.

        Raises:
            StoreUnavailable: the store could not be reached. The kernel logs it and goes on.
            NotStorable: an open snapshot's state holds something that cannot be stored.
        """
        ...

    def load_latest(self, stream_id: StreamId) -> Snapshot | None:
        """Return the stream's snapshot of the highest sequence, or None."""
        ...
