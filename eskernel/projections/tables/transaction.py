"""Work: a store's table transaction, from a page's first event to its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from sqlalchemy import Connection

from eskernel.contracts import TableStore
from eskernel.errors import StoreUnavailable
from eskernel.projections.tables.sender import Sender
from eskernel.values import Checkpoint


class _Undone(Exception):
    """Nothing failed, but the transaction must not be committed."""


class LentTransaction:
    """A transaction that does not end with a block of code, but by one of three calls.

    Args:
        store: lends it.
        patience: seconds; see `TableStore.table_transaction`.

    Raises:
        StoreUnavailable, CorruptStore: the store's.
    """

    def __init__(self, store: TableStore, patience: float) -> None:
        self._context = store.table_transaction(patience)
        self._lent = self._context.__enter__()

    @property
    def connection(self) -> Connection:
        """To execute statements on."""
        return self._lent.connection

    def save(self, name: str, epoch: int, slots: Mapping[str, Checkpoint | None]) -> None:
        """Save checkpoints in it; see `TableTransaction.save_checkpoints`."""
        self._lent.save_checkpoints(name, epoch, slots)

    def is_awaited(self) -> bool:
        """Return whether somebody is known to wait for its end."""
        return self._lent.is_awaited()

    def commit(self) -> None:
        """End it durably; raises StoreUnavailable, and what a deferred constraint raises."""
        self._context.__exit__(None, None, None)

    def fail(self, error: BaseException) -> None:
        """End it because of an error, and raise what that means, if it means something else.

        Raises:
            StoreUnavailable, CorruptStore: the error is not the statement's fault.
        """
        self._context.__exit__(type(error), error, error.__traceback__)

    def undo(self) -> None:
        """End it without a trace."""
        self.fail(_Undone())


class Work:
    """The transaction a model works in, while there is one.

    Invariants:

    - It is one slot's, and what the sender sends is part of it.
    - Once something in it has failed there is none, nor can one be opened, until `failed` is
      cleared by who knows where to go on: work that was lost is never committed as done.
    - `in_doubt` is set from before a commit until its outcome is known.

    Attributes:
        slot: whose work it is; None without a transaction.
        failed: whether work was lost.
        in_doubt: the epoch of a commit of unknown outcome.

    Args:
        store: lends transactions.
        patience: seconds; see `TableStore.table_transaction`.
        sender: is attached to the transaction while there is one.
    """

    def __init__(self, store: TableStore, patience: float, sender: Sender) -> None:
        self.slot: str | None = None
        self.failed = False
        self.in_doubt: int | None = None
        self._store = store
        self._patience = patience
        self._sender = sender
        self._transaction: LentTransaction | None = None

    def open(self, slot: str) -> LentTransaction:
        """Begin a transaction for a slot and return it.

        Raises:
            StoreUnavailable, CorruptStore: the store's; or work was lost.
        """
        if self.failed:
            raise StoreUnavailable(
                "what was handled last is not committed; go on from the last commit"
            )
        if self._transaction is not None:
            raise RuntimeError(f"slot {self.slot!r} has work that is not committed")
        transaction = self._transaction = LentTransaction(self._store, self._patience)
        self.slot = slot
        self._sender.attach(transaction.connection)
        return transaction

    def is_awaited(self) -> bool:
        """Return whether somebody is known to wait for the transaction's end."""
        return self._transaction is not None and self._transaction.is_awaited()

    @contextmanager
    def failing(self) -> Iterator[LentTransaction]:
        """Lend the transaction, and end it if something fails meanwhile.

        Raises:
            StoreUnavailable, CorruptStore: what failed is the database's fault.
            Exception: whatever has failed.
        """
        assert self._transaction is not None, "it is open"
        try:
            yield self._transaction
        except BaseException as error:
            self.fail(error)
            raise

    def fail(self, error: BaseException) -> None:
        """End the transaction; raise what an error means, if it is not the error itself."""
        # What the database has said tells more than what a handler has made of it.
        cause = self._sender.failed or error
        self.failed = True
        self._take().fail(cause)

    def commit(self, epoch: int) -> None:
        """Commit durably; raises as `LentTransaction.commit`."""
        transaction = self._take()
        self.failed, self.in_doubt = True, epoch
        try:
            transaction.commit()
        except Exception as error:
            if not getattr(error, "outcome_unknown", False):
                self.in_doubt = None
            raise
        self.failed, self.in_doubt = False, None

    def close(self) -> None:
        """Undo what is not committed."""
        if self._transaction is not None:
            self.failed = True
            self._take().undo()

    def _take(self) -> LentTransaction:
        """Return the transaction, to be ended."""
        transaction, self._transaction, self.slot = self._transaction, None, None
        self._sender.detach()
        assert transaction is not None, "it is open"
        return transaction

    @contextmanager
    def look(self) -> Iterator[LentTransaction]:
        """Lend a transaction of its own that changes nothing; raises as `open`."""
        transaction = LentTransaction(self._store, self._patience)
        try:
            yield transaction
        except BaseException as error:
            transaction.fail(error)
            raise
        transaction.undo()
