"""Each account's last deposit, put into a table by a database's driver alone.

Rows are upserted by `executemany`, 1,000 to a transaction. They are ready beforehand; or, which is
what a projection written by hand would do, they are made of events read and decoded on the way.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import psycopg

from eskernel.codec import Codec
from scripts.bench.accounts import account
from scripts.bench.last_deposits import Row
from scripts.bench.streams import AMOUNT

_AT_ONCE = 1_000
_TABLE = "raw_last_deposits"
_CREATE = (
    f"CREATE TABLE {_TABLE} (account VARCHAR NOT NULL PRIMARY KEY,"
    " amount BIGINT NOT NULL, position BIGINT NOT NULL)"
)
_UPSERT = (
    f"INSERT INTO {_TABLE} VALUES (?, ?, ?) ON CONFLICT (account) DO UPDATE"  # noqa: S608
    " SET amount = excluded.amount, position = excluded.position"
)
_PAGE = (
    "SELECT aggregate_id, payload, position FROM eskernel_events"  # noqa: S608
    f" WHERE position > ? ORDER BY position LIMIT {_AT_ONCE}"
)
_SETTINGS = ("journal_mode = WAL", "synchronous = FULL", "fullfsync = ON")
_unpack = Codec().unpack


class RawUpserts:
    """A table beside a store's own, in the same database.

    Args:
        execute: runs a statement and returns its cursor.
        executemany: runs a statement once a row.
        close: closes the connection.
        mark: what stands for a parameter.
    """

    def __init__(
        self,
        execute: Callable[..., Any],
        executemany: Callable[[str, Sequence[Row]], object],
        close: Callable[[], None],
        mark: str,
    ) -> None:
        self._execute = execute
        self._executemany = executemany
        self.close = close
        self._upsert = _UPSERT.replace("?", mark)
        self._page = _PAGE.replace("?", mark)

    def put(self, pages: Iterable[Sequence[Row]]) -> float:
        """Upsert pages of rows into an empty table; return the seconds it took."""
        self._execute(f"DROP TABLE IF EXISTS {_TABLE}")
        self._execute(_CREATE)
        start = perf_counter()
        for page in pages:
            self._execute("BEGIN")
            self._executemany(self._upsert, page)
            self._execute("COMMIT")
        return perf_counter() - start

    def put_ready(self, length: int, accounts: int) -> float:
        """Upsert the rows of `scripts.bench.long_logs`, made before the time begins."""
        rows = [
            (account((position - 1) % accounts), AMOUNT, position)
            for position in range(1, length + 1)
        ]
        return self.put([rows[at : at + _AT_ONCE] for at in range(0, length, _AT_ONCE)])

    def put_read(self) -> float:
        """Upsert a row for each event in the database, read within the time."""
        return self.put(self._read())

    def _read(self) -> Iterable[Sequence[Row]]:
        position = 0
        while found := self._execute(self._page, (position,)).fetchall():
            yield [(name, _unpack(bytes(body))["amount"], place) for name, body, place in found]
            position = found[-1][-1]

    def totals(self) -> tuple[int, int]:
        """Return how many rows there are, and the sum of their positions."""
        rows, positions = self._execute(f"SELECT count(*), sum(position) FROM {_TABLE}").fetchone()  # noqa: S608
        return int(rows), int(positions)


def raw_sqlite(path: Path) -> RawUpserts:
    """Return the table in a file of SQLite."""
    connection = sqlite3.connect(path, isolation_level=None)
    for setting in _SETTINGS:
        connection.execute(f"PRAGMA {setting}")
    return RawUpserts(connection.execute, connection.executemany, connection.close, "?")


def raw_postgresql(url: str) -> RawUpserts:
    """Return the table in a schema of PostgreSQL."""
    connection = psycopg.connect(url, autocommit=True)
    executemany = connection.cursor().executemany
    return RawUpserts(connection.execute, executemany, connection.close, "%s")
