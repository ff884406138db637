"""Database: an engine, its connections, and what its errors mean."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

from eskernel.errors import EskernelError, StoreUnavailable
from eskernel_stores.sql.batch import Round, Written


class Backend(Protocol):
    """What differs between databases.

    Attributes:
        engine: in AUTOCOMMIT mode; connects when asked.
        begin: the statement that begins a transaction that will write.
        writing: held around such a transaction.
    """

    engine: Engine
    begin: str
    writing: AbstractContextManager[object]

    def lock_schema(self, connection: Connection) -> None:
        """Have others who create or upgrade the tables wait for this transaction's end."""
        ...

    def create(self, connection: Connection) -> None:
        """Create what this kind of database needs beside the common tables."""
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
        """Lend a connection in a transaction that is committed at the end; raises as `connect`."""
        with self._translating(), self._backend.writing, self._backend.engine.connect() as lent:
            lent.exec_driver_sql(self._backend.begin)
            yield lent  # an exception takes the connection back to the pool, which rolls back
            try:
                lent.exec_driver_sql("COMMIT")
            except DBAPIError as error:
                raise StoreUnavailable.because(error, outcome_unknown=True) from error

    def write(self, round: Round) -> Written:
        """Store a round durably; raises as `connect`."""
        with self._translating():
            return self._backend.write(round)

    @contextmanager
    def _translating(self) -> Iterator[None]:
        self._check_open()
        try:
            yield
        except DBAPIError as error:
            raise self._backend.explain(error.orig) from error
        except PoolTimeout as error:
            raise StoreUnavailable(f"no connection became free in time: {error}") from error
        except SQLAlchemyError as error:
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
