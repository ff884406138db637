"""Long logs: deposits to accounts in turn, stored without a kernel.

In tables the database makes them itself, from one that was appended, which takes seconds where
appends take many; every other store gets batches. Position, sequence and payload of an event
are the same either way.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import islice
from pathlib import Path

from eskernel.contracts import Commit
from eskernel_stores.sql import SqlStore
from scripts.bench.accounts import LIVE, TYPE, account
from scripts.bench.places import Server
from scripts.bench.streams import Batching, append_all, deposit

_AT_ONCE = 1_000
"""Appends in one batch."""
_REST = "type, payload, metadata, tags, timestamp, command_id, append_id"
_COPY_FIRST = f"""
INSERT INTO eskernel_events (position, aggregate_type, aggregate_id, sequence, {_REST})
WITH RECURSIVE number(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM number WHERE n < %(length)d)
SELECT n, aggregate_type, 'acc-' || ((n - 1) - (n - 1) / %(accounts)d * %(accounts)d),
    (n - 1) / %(accounts)d + 1, {_REST}
FROM number, eskernel_events WHERE position = 1
"""  # noqa: S608 - no value comes from outside
_AFTER_POSTGRESQL = (
    "UPDATE eskernel_log SET position = (SELECT max(position) FROM eskernel_events)",
    "VACUUM ANALYZE eskernel_events",
    "CHECKPOINT",
)


def fill_sqlite(store: SqlStore, path: Path, length: int, accounts: int = LIVE) -> None:
    """Give an empty store in a file so many deposits, to each account in turn."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        _fill_tables(store, length, accounts, connection.execute)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def fill_postgresql(store: SqlStore, server: Server, length: int, accounts: int = LIVE) -> None:
    """Give an empty store in the server's own schema so many deposits, to each in turn."""
    _fill_tables(store, length, accounts, server.execute)
    for statement in _AFTER_POSTGRESQL:
        server.execute(statement)


def _fill_tables(
    store: SqlStore, length: int, accounts: int, execute: Callable[[str], object]
) -> None:
    store.append((TYPE, account(0)), [deposit(account(0), 1)], expected_sequence=0)
    if length > 1:
        execute(_COPY_FIRST % {"length": length, "accounts": accounts})


def fill_by_batches(store: Batching, length: int, accounts: int = LIVE) -> None:
    """Give an empty store at least so many deposits, whole rounds of the accounts."""
    names = [account(number) for number in range(accounts)]
    sequences = range(1, -(-length // accounts) + 1)
    commits = (
        Commit((TYPE, name), [deposit(name, sequence)], sequence - 1)
        for sequence in sequences
        for name in names
    )
    while batch := [*islice(commits, _AT_ONCE)]:
        append_all(store, batch)
