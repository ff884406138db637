"""Database: an engine, its connections, and what its errors mean."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

from eskernel.errors import EskernelError, StoreUnavailable
from eskernel.values import Lease
from eskernel_stores.batching import Round, Written


class Backend(Protocol):
    """What differs between databases.

    Attributes:
        engine: in AUTOCOMMIT mode; connects when asked.
        begin: the statement that begins a transaction that will write.
        writing: held around such a transaction.
        turn: held by who waits for `writing` to make a short one; see `sqlite`.
    """

    engine: Engine
    begin: str
    writing: AbstractContextManager[object]
    turn: AbstractContextManager[object]

    def lock_schema(self, connection: Connection) -> None:
        """Have others who create or upgrade the tables wait for this transaction's end."""
        ...

    def create(self, connection: Connection) -> None:
        """Create what this kind of database needs beside the common tables."""
        ...

    def add_fencing(self, connection: Connection) -> None:
        """Create what it takes that appends depend on leases."""
        ...

    def acquire(
        self, database: Database, names: Sequence[str], owner: str, seconds: float
    ) -> list[Lease]:
        """Take or renew leases, of one name at least; see `FencingEventStore.acquire_leases`."""
        ...

    def leave_gap(self) -> None:
        """Wait until other processes have had a chance to write since the last long transaction."""
        ...

    def note_long(self, begun: float) -> None:
        """Note that a long transaction has ended, which began at a time of `time.monotonic`."""
        ...

    def limit_idling(self, connection: Connection, patience: float) -> None:
        """Have the database end this transaction once it idles for so long, if it knows how."""
        ...

    def is_awaited(self) -> bool:
        """Return whether somebody in this process waits for `writing`, who holds the turn."""
        ...

    def check_committable(self, connection: Connection) -> None:
        """Raise RuntimeError if COMMIT would roll back, and say nothing."""
        ...

    def blames_statement(self, error: DBAPIError) -> bool:
        """Return whether a statement is wrong in itself, and will fail again."""
        ...

    def write(self, round: Round) -> Written:
        """Store a round in one transaction, durably.

        Raises:
            SQLAlchemyError, StoreUnavailable: it failed.
        """
        ...

    def explain(self, error: BaseException | None) -> EskernelError:
        """Return what the failure of a statement means; nothing was stored by it."""
        ...

    def close(self) -> None:
        """Close every connection."""
        ...


class Database:
    """Connections to one database, safe to use from many threads.

    Args:
        backend: the kind of database.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._pid = os.getpid()
        self._closed = False
        event.listen(backend.engine, "checkin", self._close_late)

    def _close_late(self, connection: Any, entry: ConnectionPoolEntry) -> None:
        """Close a connection that was in use when the store was closed."""
        if self._closed and connection is not None and os.getpid() == self._pid:
            entry.invalidate()

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Lend a connection on which every statement is a transaction.

        Raises:
            StoreUnavailable: the database cannot be reached, or refuses.
            CorruptStore: it is damaged.
        """
        with self._translating(), self._backend.engine.connect() as connection:
            yield connection

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Lend a connection in a transaction that is committed at the end; raises as `connect`.

        It must be a short one: who waits to append lets it go first.
        """
        with self._translating(), self._backend.turn, self._committing() as lent:
            yield lent

    @contextmanager
    def long_transaction(self, patience: float) -> Iterator[Connection]:
        """Lend a connection in a transaction of somebody else's statements.

        Whoever waits to write goes first, so that one such transaction after another stops nobody.

        Args:
            patience: seconds after which the database may end it when it does nothing.

        Raises:
            StoreUnavailable, CorruptStore: as `connect`.
            DBAPIError: a statement is wrong in itself.
        """
        with self._translating(lent=True):
            self._backend.leave_gap()
            with self._backend.turn:
                pass  # they held it
            begun = time.monotonic()
            try:
                with self._committing() as lent:
                    self._backend.limit_idling(lent, patience)
                    yield lent
            finally:
                self._backend.note_long(begun)

    @contextmanager
    def _committing(self) -> Iterator[Connection]:
        with self._backend.writing, self._backend.engine.connect() as lent:
            lent.exec_driver_sql(self._backend.begin)
            yield lent  # an exception takes the connection back to the pool, which rolls back
            self._backend.check_committable(lent)
            try:
                lent.exec_driver_sql("COMMIT")
            except DBAPIError as error:
                if self._backend.blames_statement(error):  # a constraint that is checked now
                    raise
                raise StoreUnavailable.because(error, outcome_unknown=True) from error

    def write(self, round: Round) -> Written:
        """Store a round durably; raises as `connect`."""
        with self._translating():
            return self._backend.write(round)

    @contextmanager
    def _translating(self, *, lent: bool = False) -> Iterator[None]:
        self._check_open()
        try:
            yield
        except DBAPIError as error:
            if lent and self._backend.blames_statement(error):
                raise
            raise self._backend.explain(error.orig) from error
        except PoolTimeout as error:
            raise StoreUnavailable(f"no connection became free in time: {error}") from error
        except SQLAlchemyError as error:
            if lent:
                raise
            raise StoreUnavailable.because(error, outcome_unknown=False) from error

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed; open it again")
        if os.getpid() != self._pid:
            raise StoreUnavailable(
                "this store was opened by the process that forked this one, and connections "
                "cannot be shared; open a store of its own here"
            )

    def close(self) -> None:
        """Close all connections; in a forked child do nothing, for they are the parent's."""
        self._closed = True
        if os.getpid() == self._pid:
            self._backend.close()
