"""PostgreSQL, through psycopg 3.

**Positions without skips.** An append locks the one row of `eskernel_log`, takes its positions from
it and keeps it locked until the commit. So positions are given and become visible in one order,
whatever the number of processes, and a reader that has seen a position has seen all before it.
It is also the only lock: racing processes cannot deadlock. `postgresql_fencing` says how it keeps
leases from changing hands in the middle of an append.

The lock is held for one statement, a call of the function `eskernel_append`, which the server
starts when it has everything and commits by itself: a client that is paused, or dies, in the
middle of an append keeps nobody waiting. A batch of appends takes the lock once.

Measured against two other ways, batches of 64 on 2 cores, appends a second of one and of two
processes that do nothing else: this one 26,000 and 34,700; an advisory lock and the last row's
position 28,400 and 36,400; positions of a sequence and nobody waiting, as a horizon of transaction
ids would allow, 27,800 and 47,600. The horizon costs more than it gains: it stands still while any
transaction of the cluster, of another database even, stays open, and transaction ids begin again
in a cluster restored from a dump, far below those in the table. An advisory lock is the same
lock under a number that another program may use, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

from sqlalchemy import URL, Connection, insert
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    NotSupportedError,
    ProgrammingError,
    SQLAlchemyError,
)

from eskernel.errors import CorruptStore, EskernelError, StoreUnavailable
from eskernel.values import Lease
from eskernel_stores.batching import Round, Written
from eskernel_stores.sql import postgresql_fencing as fencing
from eskernel_stores.sql.database import Database
from eskernel_stores.sql.notices import Notices
from eskernel_stores.sql.postgresql_connections import new_engine
from eskernel_stores.sql.postgresql_function import FUNCTION
from eskernel_stores.sql.postgresql_packing import packed, packed_fences
from eskernel_stores.sql.tables import LOG

_SCHEMA_LOCK: Final = 0x65736B65726E656C  # "eskernel", as the key of an advisory lock

_CALL: Final = "SELECT before, heads FROM eskernel_append(%s::json, %s::json, %b)"
_CALL_FENCED: Final = (
    "SELECT before, heads, newest FROM eskernel_append_fenced(%s::json, %s::json, %s::json, %b)"
)
_LOCKED: Final = "55P03"  # lock_not_available
_IGNORED: Final = "25P02"  # in_failed_sql_transaction: an earlier error was passed over
_IN_ERROR: Final = 3  # libpq's PQTRANS_INERROR
_MAX_MILLISECONDS: Final = 2**31 - 1
_WRONG: Final = (DataError, IntegrityError, NotSupportedError, ProgrammingError)
_DAMAGED: Final = ("XX001", "XX002")  # data_corrupted, index_corrupted


class PostgresqlBackend:
    """A database of a PostgreSQL server.

    Args:
        url: names server and database; `?options=-csearch_path%3Dname` names a schema.
        timeout: seconds to wait for a free connection.
        pool_size: connections that are kept open.

    Raises:
        ModuleNotFoundError: psycopg is not installed.
    """

    begin = "BEGIN"

    def __init__(self, url: URL, *, timeout: float, pool_size: int) -> None:
        self.engine = new_engine(url, timeout=timeout, pool_size=pool_size)
        self._notices = Notices(self.engine)
        self.writing: AbstractContextManager[object] = nullcontext()
        self.turn: AbstractContextManager[object] = nullcontext()

    def lock_schema(self, connection: Connection) -> None:
        """Take the lock of all who create or upgrade tables, for the rest of the transaction."""
        connection.exec_driver_sql("SET LOCAL lock_timeout = 0")  # an upgrade may take its time
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (_SCHEMA_LOCK,))

    def create(self, connection: Connection) -> None:
        """Create the log's row and the function that appends.

        Raises:
            StoreUnavailable: the database cannot keep every character.
        """
        encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
        if encoding != "UTF8":
            raise StoreUnavailable(
                f"the database keeps text as {encoding}, which lacks characters; make one with "
                "CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0"
            )
        LOG.create(connection)
        connection.execute(insert(LOG).values(one=1, position=0))
        connection.exec_driver_sql(FUNCTION)

    def add_fencing(self, connection: Connection) -> None:
        """Create functions and a trigger; those there are stay, for processes that use them."""
        for statement in fencing.FENCING:
            connection.exec_driver_sql(statement)

    def write(self, round: Round) -> Written:
        """Store a round in one transaction, durably.

        After a connection broke in the middle it is sent once more: rows that were stored have
        the append ids that tell.

        Raises:
            DBAPIError: it failed, and nothing was stored.
            StoreUnavailable: it may be stored; `outcome_unknown` is True.
        """
        try:
            written = self._call(round)
        except _BrokeOff:
            written = self._call_again(round)
            self._notices.appended()  # perhaps by the first call
        else:
            if round.has_stored(written):
                self._notices.appended()
        return written

    def _call_again(self, round: Round) -> Written:
        try:
            return self._call(round)
        except (_BrokeOff, SQLAlchemyError) as error:
            raise StoreUnavailable.because(error, outcome_unknown=True) from error

    def _call(self, round: Round) -> Written:
        parameters: tuple[str | bytes, ...]
        statement, parameters = _CALL, packed(round)
        if round.fences:
            statement, parameters = _CALL_FENCED, (packed_fences(round), *parameters)
        with self.engine.connect() as connection:
            try:
                row = connection.exec_driver_sql(statement, parameters).one()
            except DBAPIError as error:
                if error.connection_invalidated:
                    raise _BrokeOff(str(error.orig)) from error
                raise
        return _written(round, *row)

    def explain(self, error: BaseException | None) -> EskernelError:
        """Return what the failure of a statement means; nothing was stored by it."""
        if getattr(error, "sqlstate", None) in _DAMAGED:
            return CorruptStore(f"PostgreSQL found damaged data: {error}")
        if getattr(error, "sqlstate", None) == _LOCKED:
            return StoreUnavailable(
                "PostgreSQL: another program has kept a table of the store locked for too long; "
                "nothing was stored, try again"
            )
        return StoreUnavailable(f"PostgreSQL: {error}; nothing was stored")

    def acquire(
        self, database: Database, names: Sequence[str], owner: str, seconds: float
    ) -> list[Lease]:
        """Take or renew leases in one statement, by the server's clock."""
        with database.connect() as connection:
            return fencing.acquire(connection, names, owner, seconds)

    def limit_idling(self, connection: Connection, patience: float) -> None:
        """Have the server end this transaction once it idles for so long."""
        milliseconds = min(max(round(patience * 1000), 1), _MAX_MILLISECONDS)
        connection.exec_driver_sql(
            "SELECT set_config('idle_in_transaction_session_timeout', %s, true)",
            (f"{milliseconds}ms",),
        )

    def leave_gap(self) -> None:
        """Do nothing: who waits for a lock of the server's is in a queue."""

    def note_long(self, begun: float) -> None:
        """Do nothing, as `leave_gap`."""

    def is_awaited(self) -> bool:
        """Return False: appends need nothing that another transaction keeps."""
        return False

    def check_committable(self, connection: Connection) -> None:
        """Raise RuntimeError if the server would answer COMMIT by rolling back."""
        driver: Any = connection.connection.driver_connection
        if driver.info.transaction_status == _IN_ERROR:
            raise RuntimeError(
                "a statement of this transaction has failed, so nothing of it is stored; let its "
                "error pass through, or put what may fail into `connection.begin_nested()`"
            )

    def blames_statement(self, error: DBAPIError) -> bool:
        """Return whether a statement is wrong in itself, and will fail again."""
        return isinstance(error, _WRONG) or getattr(error.orig, "sqlstate", None) == _IGNORED

    def on_append(self, tell: Callable[[], None]) -> Callable[[], None]:
        """Have a function called after appends; see `HintingEventStore.on_append`."""
        return self._notices.on_append(tell)

    def close(self) -> None:
        """Close every connection."""
        self._notices.close()
        self.engine.dispose()


class _BrokeOff(Exception):
    """The connection broke after a statement was sent and before its answer came."""


def _written(
    round: Round, before: int, heads: Sequence[int], newest: Sequence[int] = ()
) -> Written:
    """Return what became of a round, from what the function says of it."""
    return round.written(before, heads, round.stale(newest))
