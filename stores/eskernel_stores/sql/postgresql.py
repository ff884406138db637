"""PostgreSQL, through psycopg 3.

**Positions without skips.** An append locks the one row of `eskernel_log`, takes its positions from
it and keeps it locked until the commit. So positions are given and become visible in one order,
whatever the number of processes, and a reader that has seen a position has seen all before it.
It is also the only lock: racing processes cannot deadlock.

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

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from operator import eq
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
from eskernel_stores.batching import Round, Written
from eskernel_stores.sql.notices import Notices
from eskernel_stores.sql.postgresql_connections import new_engine
from eskernel_stores.sql.postgresql_function import FUNCTION
from eskernel_stores.sql.tables import LOG

_SCHEMA_LOCK: Final = 0x65736B65726E656C  # "eskernel", as the key of an advisory lock

_CALL: Final = "SELECT before, heads FROM eskernel_append(%s::json, %s::json, %b)"
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
            if any(map(eq, written.heads, round.expected)):
                self._notices.appended()
        return written

    def _call_again(self, round: Round) -> Written:
        try:
            return self._call(round)
        except (_BrokeOff, SQLAlchemyError) as error:
            raise StoreUnavailable.because(error, outcome_unknown=True) from error

    def _call(self, round: Round) -> Written:
        parameters = _packed(round)
        with self.engine.connect() as connection:
            try:
                before, heads = connection.exec_driver_sql(_CALL, parameters).one()
            except DBAPIError as error:
                if error.connection_invalidated:
                    raise _BrokeOff(str(error.orig)) from error
                raise
        return round.written(before, heads)

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

    def now(self, connection: Connection) -> float:
        """Return the server's time."""
        statement = "SELECT extract(epoch FROM clock_timestamp())::double precision"
        return float(connection.exec_driver_sql(statement).scalar_one())

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


def _packed(round: Round) -> tuple[str, str, bytes]:
    """Return the arguments of `eskernel_append`: what is not bytes as JSON, all bytes in one row.

    psycopg takes ten times as long to write an array for each column.
    """
    streams = [
        {"aggregate_type": aggregate_type, "aggregate_id": aggregate_id, "expected": expected}
        for (aggregate_type, aggregate_id), expected in zip(
            round.streams, round.expected, strict=True
        )
    ]
    rows = []
    parts: list[bytes] = []
    start = 1
    for index, columns in round.events:
        _, _, sequence, name, payload, metadata, tags, timestamp, command_id, append_id = columns
        rows.append(
            {
                "stream": index + 1,
                "sequence": sequence,
                "type": name,
                "tags": tags,
                "timestamp": timestamp,
                "command_id": command_id,
                "start": start,
                "payload": len(payload),
                "metadata": len(metadata),
            }
        )
        parts += (payload, metadata, append_id)
        start += len(payload) + len(metadata) + len(append_id)
    return json.dumps(streams), json.dumps(rows), b"".join(parts)
