"""TableStore: a store in an SQL database, where projections may keep tables of their own."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from eskernel.values import Checkpoint

if TYPE_CHECKING:
    from sqlalchemy import Connection


class TableTransaction(Protocol):
    """A transaction under way, in which tables and checkpoints change together.

    Attributes:
        connection: to execute statements on; it must not be committed or rolled back.
    """

    connection: Connection

    def save_checkpoints(
        self, name: str, epoch: int, slots: Mapping[str, Checkpoint | None]
    ) -> None:
        """As `CheckpointStore.save_checkpoints`, as part of this transaction.

        Raises:
            StaleEpoch: the caller must let the transaction fail.
        """
        ...

    def is_awaited(self) -> bool:
        """Return whether somebody is known to wait for this transaction's end, to write."""
        ...


@runtime_checkable
class TableStore(Protocol):
    """Lends transactions. It also is a CheckpointStore, in the same database."""

    def table_transaction(self, patience: float) -> AbstractContextManager[TableTransaction]:
        """Return a context that commits durably at its end, and rolls back on an exception.

        Inside it, nothing else of the store must be written on the same thread, nor waited for:
        where one writes at a time, it would wait for this transaction's end.

        The order in which writers get their turn is fair: who writes one transaction after another
        lets those who wait, appends above all, go in between.

        Args:
            patience: seconds after which the database may end a transaction that does nothing,
                so that a paused process does not keep others waiting.

        Raises:
            StoreUnavailable: the database cannot be reached or refuses; at the end of the context
                `outcome_unknown` tells whether it may be committed all the same.
            CorruptStore: it is damaged.
            DBAPIError: SQLAlchemy's, when a statement executed inside is wrong in itself, breaks
                a constraint say, so that it would fail again; nothing was stored.
            RuntimeError: a statement inside has failed, its error was passed over, and now the
                database has to roll back.
        """
        ...
