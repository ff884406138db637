"""A transaction of somebody else's statements, in which checkpoints change with their tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from sqlalchemy import Connection

from eskernel.values import Checkpoint
from eskernel_stores.checking import check_checkpoints
from eskernel_stores.sql import checkpoints
from eskernel_stores.sql.database import Backend, Database


class SqlTableTransaction:
    """A TableTransaction; for the thread that began it.

    Args:
        connection: in the transaction.
        backend: knows who waits.
    """

    def __init__(self, connection: Connection, backend: Backend) -> None:
        self.connection = connection
        self._backend = backend

    def save_checkpoints(
        self, name: str, epoch: int, slots: Mapping[str, Checkpoint | None]
    ) -> None:
        """Replace checkpoints; see `TableTransaction.save_checkpoints`.

        They are the transaction's last statements, best: until its end nobody else can save
        checkpoints of the name, or ask for its lease.
        """
        check_checkpoints(name, epoch, slots)
        checkpoints.save(self.connection, name, epoch, slots)

    def is_awaited(self) -> bool:
        """Return whether somebody in this process waits to write until this ends."""
        return self._backend.is_awaited()


@contextmanager
def table_transaction(
    database: Database, backend: Backend, patience: float
) -> Iterator[SqlTableTransaction]:
    """Lend a transaction; see `TableStore.table_transaction`.

    Raises:
        ValueError: `patience` is no time.
    """
    if not patience > 0:
        raise ValueError(f"patience must be more than 0 seconds, not {patience!r}")
    with database.long_transaction(patience) as connection:
        yield SqlTableTransaction(connection, backend)
