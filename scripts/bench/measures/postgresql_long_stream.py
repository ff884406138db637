"""An append to a stream of 1,000,000 events against one to a stream of 10, in PostgreSQL.

See `scripts.bench.long_streams`. The table is vacuumed, and written to disk, before: neither is to
happen in the midst of it.
"""

from __future__ import annotations

from contextlib import closing

from eskernel_stores.sql import SqlStore
from scripts.bench.figure import Figure
from scripts.bench.long_tables import compare_lengths, fill_long
from scripts.bench.places import Server, postgresql
from scripts.bench.timing import Say, scaled

_TURNS = 200
_AFTERWARDS = (
    "UPDATE eskernel_log SET position = (SELECT max(position) FROM eskernel_events)",
    "VACUUM ANALYZE eskernel_events",
    "CHECKPOINT",
)


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the ratio."""
    length, turns = scaled(1_000_000, scale), scaled(_TURNS, scale, 3)
    with postgresql() as server, closing(SqlStore(server.url())) as store:
        say(f"filling a stream with {length:,} events")
        fill_long(store, length, lambda statement: _execute(server, statement))
        return [compare_lengths(store, length, turns, "PostgreSQL", say)]


def _execute(server: Server, statement: str) -> None:
    for each in (statement, *_AFTERWARDS):
        server.execute(each)
