"""1,000,000 events in one SQLite stream: an append to it, and its aggregate brought back.

The append is compared with one to a stream of 10, see `scripts.bench.long_streams`. A snapshot
stands at the end of the stream when its aggregate is brought back: timed is the first read of its
state by a kernel that has not seen it; the median of 21.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from eskernel_stores.sql import SqlStore
from scripts.bench.figure import Figure
from scripts.bench.long_streams import LONG
from scripts.bench.long_tables import compare_lengths, fill_long
from scripts.bench.places import folder, sqlite_store
from scripts.bench.rehydrating import time_rehydration
from scripts.bench.timing import Say, quantile, scaled

_RUNS, _TURNS = 21, 200


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the milliseconds of a rehydration, and the ratio of appends."""
    length, turns = scaled(1_000_000, scale), scaled(_TURNS, scale, 3)
    with folder() as place, closing(sqlite_store(place / "ours.db")) as store:
        say(f"filling a stream with {length:,} events")
        _fill(store, place / "ours.db", length)
        say("rehydrating")
        rehydrated = _rehydrate(store, length)
        return [rehydrated, compare_lengths(store, length, turns, "SQLite", say)]


def _fill(store: SqlStore, path: Path, length: int) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        fill_long(store, length, connection.execute)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _rehydrate(store: SqlStore, length: int) -> Figure:
    taken = [time_rehydration(store, LONG, length) * 1000 for _ in range(_RUNS)]
    p50, p99 = quantile(taken, 0.5), quantile(taken, 0.99)
    name = f"SQLite, rehydrate with a snapshot at the end of {length:,} events"
    shown = f"p50 {p50:.2f} ms, p99 {p99:.2f} ms"
    return Figure(name, p50, "ms", shown, None, 5, {"p50": p50, "p99": p99})
