"""SQLite: the embedded default.

Positions need no care here: SQLite lets one transaction write at a time, so they are given and
become visible in the same order, across processes too.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing, suppress
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import PoolProxiedConnection

from eskernel.errors import CorruptStore, EskernelError, StoreUnavailable
from eskernel.values import Lease
from eskernel_stores.batching import Round, Written
from eskernel_stores.sql import leases
from eskernel_stores.sql import sqlite_failures as failures
from eskernel_stores.sql.database import Database
from eskernel_stores.sql.sqlite_writing import write

SYNCHRONOUS: Final = ("FULL", "NORMAL", "OFF", "EXTRA")
"""What `PRAGMA synchronous` may be; below FULL a power cut may lose what was acknowledged."""

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

    def add_fencing(self, connection: Connection) -> None:
        """Do nothing: BEGIN IMMEDIATE keeps leases and appends apart."""

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
                    return write(cursor, round)
            except sqlite3.Error as error:
                raise self.explain(error) from error
            finally:
                self._forget_unfinished()

    def _cursor(self) -> sqlite3.Cursor:
        if self._writer is None:
            self._writer = self.engine.raw_connection()
        connection: sqlite3.Connection = self._writer.driver_connection  # type: ignore[assignment]
        return connection.cursor()

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

    def acquire(
        self, database: Database, names: Sequence[str], owner: str, seconds: float
    ) -> list[Lease]:
        """Take or renew leases, by the machine's time; the file has no other."""
        with database.transaction() as connection:
            return leases.acquire_in_file(connection, names, owner, seconds, time.time())

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
