"""A projection with a table that catches up, one upsert an event, on SQLite and PostgreSQL.

The rival does the same upserts by the database's driver alone, 1,000 to a transaction, in a table
of its own in the same database. Its rows are ready before its time begins; where it reads and
decodes the events as well, as a projection written by hand would, the figure only informs.
"""

from __future__ import annotations

import itertools
from contextlib import closing
from typing import Any

from sqlalchemy import func, select

from eskernel_stores.sql import SqlStore
from scripts.bench.catching_up import time_catch_up
from scripts.bench.figure import Figure
from scripts.bench.last_deposits import last_deposits
from scripts.bench.long_logs import fill_postgresql, fill_sqlite
from scripts.bench.places import folder, postgresql, sqlite_store
from scripts.bench.rivals.raw_upserts import RawUpserts, raw_postgresql, raw_sqlite
from scripts.bench.timing import Load, Rates, Say, rounds, scaled, take_turns

_LENGTH, _ACCOUNTS, _ROUNDS = 100_000, 10_000, 3
_numbers = itertools.count(1)


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the ratios on each database."""
    length = scaled(_LENGTH, scale)
    accounts = min(_ACCOUNTS, length)
    with folder() as place:
        path = place / "ours.db"
        with closing(sqlite_store(path)) as store, closing(raw_sqlite(path)) as raw:
            fill_sqlite(store, path, length, accounts)
            figures = _compare("SQLite", store, raw, (length, accounts), scale, say)
    with (
        postgresql() as server,
        closing(SqlStore(server.url())) as store,
        closing(raw_postgresql(server.url())) as raw,
    ):
        fill_postgresql(store, server, length, accounts)
        return figures + _compare("PostgreSQL", store, raw, (length, accounts), scale, say)


def _compare(
    where: str, store: SqlStore, raw: RawUpserts, size: tuple[int, int], scale: float, say: Say
) -> list[Figure]:
    length, accounts = size

    def ours() -> float:
        module = last_deposits(next(_numbers))
        taken = time_catch_up(store, module)
        assert _totals(store, module.tables[0]) == raw.totals(), "the tables are not the same"
        return taken

    raw.put_ready(length, accounts)
    loads = {
        "ours": Load(length, ours),
        "ready": Load(length, lambda: raw.put_ready(length, accounts)),
        "read": Load(length, raw.put_read),
    }
    rates = take_turns(rounds(_ROUNDS, scale), loads, lambda word: say(f"{where}, {word}"))
    name = f"{where}, catch-up of a table against"
    return [
        Rates(rates["ours"], rates["ready"]).figure(f"{name} its raw upserts alone", 0.5),
        Rates(rates["ours"], rates["read"]).figure(f"{name} a projection written by hand"),
    ]


def _totals(store: SqlStore, table: Any) -> tuple[int, int]:
    columns = func.count(), func.sum(table.c.position)
    with store.table_transaction(1) as transaction:
        rows, positions = transaction.connection.execute(select(*columns)).one()
    return int(rows), int(positions)
