"""SQLite: the embedded default.

Positions need no care here: SQLite lets one transaction write at a time, so they are given and
become visible in the same order, across processes too.

A little longer than most modules, for all its locks and their order are one argument.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from contextlib import AbstractContextManager, closing, suppress
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, create_engine, event, insert
from sqlalchemy.dialects.sqlite import dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import PoolProxiedConnection

from eskernel.errors import CorruptStore, EskernelError, StoreUnavailable
from eskernel_stores.batching import Round, Written
from eskernel_stores.sql import sqlite_failures as failures
from eskernel_stores.sql.events import Stored
from eskernel_stores.sql.tables import EVENTS

SYNCHRONOUS: Final = ("FULL", "NORMAL", "OFF", "EXTRA")
"""What `PRAGMA synchronous` may be; below FULL a power cut may lose what was acknowledged."""

# One statement for the whole round: each step of a statement gives the interpreter lock away, and
# to have it back a busy process waits.
_HEADS: Final = (
    "SELECT coalesce((SELECT max(position) FROM eskernel_events), 0), "
    "json_group_object(stream.key, coalesce(("
    "SELECT event.sequence FROM eskernel_events AS event "
    "WHERE event.aggregate_type = json_extract(stream.value, '$[0]') "
    "AND event.aggregate_id = json_extract(stream.value, '$[1]') "
    "ORDER BY event.sequence DESC LIMIT 1), 0)) FROM json_each(?) AS stream"
)
_INSERT: Final = str(insert(EVENTS).compile(dialect=dialect(paramstyle="qmark")))
# An append of one event is one statement, which begins and commits by itself.
_ALONE: Final = (
    "INSERT INTO eskernel_events SELECT "
    "coalesce((SELECT max(position) FROM eskernel_events), 0) + 1, "
    "?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10 "
    "WHERE coalesce((SELECT sequence FROM eskernel_events "
    "WHERE aggregate_type = ?1 AND aggregate_id = ?2 ORDER BY sequence DESC LIMIT 1), 0) = ?3 - 1"
)

_SHORTEST_GAP: Final = 0.001  # seconds
_GAP_SHARE: Final = 5
_SMALLEST_PAGE: Final = 512  # bytes


class SqliteBackend:
    """A database file.

    One connection writes, under a lock that spares threads SQLite's own waiting, which polls.
    Readers have connections of their own and wait for nobody, thanks to the write-ahead log.

    Args:
        url: names the file.
        synchronous: one of `SYNCHRONOUS`.
        timeout: seconds to wait while another program holds the file locked.
        pool_size: readers' connections that are kept open.

    Raises:
        ValueError: the URL names no file, or `synchronous` is something else.
        StoreUnavailable: no file can be there.
    """

    begin = "BEGIN IMMEDIATE"

    def __init__(self, url: URL, *, synchronous: str, timeout: float, pool_size: int) -> None:
        if synchronous not in SYNCHRONOUS:
            raise ValueError(f"synchronous must be one of {SYNCHRONOUS}, not {synchronous!r}")
        self._path = _checked_path(url)
        self._timeout = timeout
        self._settings = (
            f"PRAGMA synchronous = {synchronous}",
            *("PRAGMA fullfsync = ON", "PRAGMA checkpoint_fullfsync = ON"),  # as macOS needs it
        )
        self.engine = create_engine(
            url,
            isolation_level="AUTOCOMMIT",  # transactions are begun by hand, see `begin`
            connect_args={"timeout": timeout},
            pool_size=pool_size,
            max_overflow=-1,  # as many as there are threads that read at once
        )
        event.listen(self.engine, "connect", self._set_up)
        # Bare locks: an asynchronous exception never leaves one held. `writing` is held while
        # something is written. Appends and the store's other short writes hold `turn` from before
        # they wait for `writing` until they are done; a table transaction takes `turn` and gives
        # it back before it waits. So, of table transactions one after another, the next cannot
        # begin before the append is done that has waited for the last; and who holds `writing`
        # sees by `turn` that somebody waits.
        self.writing: AbstractContextManager[object] = threading.Lock()
        self._turn = threading.Lock()
        self.turn: AbstractContextManager[object] = self._turn
        self._writer: PoolProxiedConnection | None = None  # used under `writing`
        self._next_long = 0.0  # on the monotonic clock; of whoever noted it last
        self._closed = False

    def _set_up(self, connection: sqlite3.Connection, _: Any) -> None:
        """Prepare a new connection; raises sqlite3.Error."""
        try:
            self._use_write_ahead_log(connection)
            for setting in self._settings:
                connection.execute(setting)
        except BaseException:
            connection.close()
            raise

    def _use_write_ahead_log(self, connection: sqlite3.Connection) -> None:
        """Give the file its write-ahead log; of many that do so at once, SQLite fails some."""
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
                break
            except sqlite3.OperationalError as error:
                if not failures.is_busy(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        if mode != "wal":
            raise sqlite3.OperationalError(f"no write-ahead log can be had, only {mode!r}")

    def lock_schema(self, connection: Connection) -> None:
        """Do nothing: BEGIN IMMEDIATE has locked everything."""

    def create(self, connection: Connection) -> None:
        """Do nothing: the common tables are all."""

    def write(self, round: Round) -> Written:
        """Store a round in one transaction, durably.

        Raises:
            StoreUnavailable: it failed.
            CorruptStore: the file is damaged.
        """
        with self._turn, self.writing:
            if self._closed:
                raise StoreUnavailable("the store was closed meanwhile; nothing was stored")
            self._forget_unfinished()  # the exception may have come when this was being done
            try:
                with closing(self._cursor()) as cursor:  # which a traceback may hold for long
                    return self._write(cursor, round)
            except sqlite3.Error as error:
                raise self.explain(error) from error
            finally:
                self._forget_unfinished()

    def _cursor(self) -> sqlite3.Cursor:
        if self._writer is None:
            self._writer = self.engine.raw_connection()
        connection: sqlite3.Connection = self._writer.driver_connection  # type: ignore[assignment]
        return connection.cursor()

    def _write(self, cursor: sqlite3.Cursor, round: Round) -> Written:
        if len(round.events) == len(round.streams) == 1:
            self._commit(cursor, _ALONE, round.events[0][1])
            if cursor.rowcount == 1:
                assert cursor.lastrowid is not None
                return round.written(cursor.lastrowid - 1, round.expected)
        cursor.execute(self.begin)
        position, found = cursor.execute(_HEADS, (json.dumps(round.streams),)).fetchone()
        by_index = json.loads(found)
        heads = [by_index[str(index)] for index in range(len(round.streams))]
        accepted = [
            columns for index, columns in round.events if heads[index] == round.expected[index]
        ]
        cursor.executemany(
            _INSERT, [(at, *columns) for at, columns in enumerate(accepted, position + 1)]
        )
        self._commit(cursor, "COMMIT")
        return round.written(position, heads)

    def _commit(self, cursor: sqlite3.Cursor, statement: str, columns: Stored = ()) -> None:
        """Run a statement that commits; what it stored is unknown after most failures."""
        try:
            cursor.execute(statement, columns)
        except sqlite3.Error as error:
            if failures.leaves_nothing(error):
                raise
            raise StoreUnavailable.because(error, outcome_unknown=True) from error

    def _forget_unfinished(self) -> None:
        """Undo what was cut short, by KeyboardInterrupt for example."""
        if self._writer is None:
            return
        connection: sqlite3.Connection = self._writer.driver_connection  # type: ignore[assignment]
        if connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.rollback()  # closing alone waits for cursors that tracebacks hold
            self._forget_writer()

    def _forget_writer(self) -> None:
        """Close the connection, which undoes its transaction; the next write opens another."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.invalidate()

    def explain(self, error: BaseException | None) -> EskernelError:
        """Return what the failure of a statement other than COMMIT means."""
        return failures.explain(error, self._path, self._timeout)

    def now(self, _connection: Connection) -> float:
        """Return the machine's time; the file has no other."""
        return time.time()

    def leave_gap(self) -> None:
        """Wait until other processes have had a chance to write since the last long transaction.

        They cannot queue: SQLite has them look again and again whether the file is free.
        """
        left = self._next_long - time.monotonic()
        if left > 0:
            time.sleep(left)

    def note_long(self, begun: float) -> None:
        """Note that a long transaction has ended: the next leaves a gap a fifth as long."""
        now = time.monotonic()
        self._next_long = now + max(_SHORTEST_GAP, (now - begun) / _GAP_SHARE)

    def limit_idling(self, connection: Connection, patience: float) -> None:
        """Do nothing: SQLite waits for its writer for as long as the process lives."""

    def is_awaited(self) -> bool:
        """Return whether somebody in this process waits to write."""
        return self._turn.locked()

    def check_committable(self, connection: Connection) -> None:
        """Do nothing: a COMMIT that cannot be says so."""

    def blames_statement(self, error: DBAPIError) -> bool:
        """Return whether a statement is wrong in itself, and will fail again."""
        return failures.blames_statement(error)

    def close(self) -> None:
        """Close every connection."""
        with self._turn, self.writing:
            self._closed = True
            self._forget_writer()
        self.engine.dispose()


def _checked_path(url: URL) -> Path:
    name = url.database
    if not name or name == ":memory:" or name.startswith("file:") or url.host:
        raise ValueError(
            f"{url} names no database file; write sqlite:///relative/path.db or "
            "sqlite:////absolute/path.db, or use memory: for a store in memory"
        )
    path = Path(name)
    if path.is_dir():
        raise StoreUnavailable(f"{path} is a directory; name a database file in it")
    if not path.parent.is_dir():
        raise StoreUnavailable(f"there is no directory {path.parent}; make it first")
    if path.is_file() and 0 < path.stat().st_size < _SMALLEST_PAGE:  # SQLite would overwrite it
        raise CorruptStore(f"{path} is no SQLite database; it is kept as it is")
    return path
