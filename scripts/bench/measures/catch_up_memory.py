"""Memory while a projection catches up with 1,000,000 events in SQLite.

Resident memory of a fresh process, see `scripts.bench.catching_up`, when the projection has come
10 %, 50 % and 100 % of the way. Its state has 100 keys, so what grows would be the projection's.
"""

from __future__ import annotations

from contextlib import closing

from scripts.bench.catching_up import memory_on_the_way
from scripts.bench.figure import Figure
from scripts.bench.long_logs import fill_sqlite
from scripts.bench.places import folder, sqlite_store
from scripts.bench.timing import Say, scaled

_MIB = 2**20


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the growth from 10 % to 100 % of the way."""
    length = scaled(1_000_000, scale)
    with folder() as place:
        path = place / "ours.db"
        with closing(sqlite_store(path)) as store:
            say(f"filling a log with {length:,} events")
            fill_sqlite(store, path, length)
        say("catching up")
        tenth, half, whole = (size / _MIB for size in memory_on_the_way(path, length))
    shown = f"{tenth:.1f} MiB at 10 %, {half:.1f} at 50 %, {whole:.1f} at 100 %"
    details = {"10 %": tenth, "50 %": half, "100 %": whole}
    name = f"SQLite, memory that a catch-up with {length:,} events adds"
    return [Figure(name, max(half, whole) - tenth, "MiB", shown, None, 8, details)]
