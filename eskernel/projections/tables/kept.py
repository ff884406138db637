"""Kept: what the last commit of a slot stored, and where it is read."""

from __future__ import annotations

from typing import Any, NamedTuple

from eskernel.contracts import CheckpointStore, TableStore
from eskernel.errors import InvalidProjection
from eskernel.projections.progress import Progress
from eskernel.projections.tables.naming import TableName, packed, unpacked
from eskernel.values import Checkpoint


class Kept(NamedTuple):
    """What a checkpoint of tables says.

    Attributes:
        progress: how far the tables have come.
        names: which tables they are, as declared by the version of the module that made them.
    """

    progress: Progress
    names: tuple[TableName, ...]

    def checkpoint(self) -> Checkpoint:
        """Return what is stored."""
        return self.progress.checkpoint(packed(self.names))


def load_kept(store: CheckpointStore, key: str, slot: str) -> Kept | None:
    """Return what is stored in a slot; raises as `CheckpointStore.load_checkpoint`."""
    stored = store.load_checkpoint(key, slot)
    return None if stored is None else Kept(Progress.of(stored), unpacked(stored.state))


def table_store(projection: str, store: Any) -> TableStore:
    """Return a store that keeps tables and checkpoints, as it is.

    Raises:
        InvalidProjection: it does not keep both.
    """
    if isinstance(store, TableStore) and isinstance(store, CheckpointStore):
        return store
    raise InvalidProjection(
        f"projection {projection!r} has tables, and {type(store).__name__} keeps none; pass "
        f"Projection({projection}, store=open_store('sqlite:///read.db'))"
    )
