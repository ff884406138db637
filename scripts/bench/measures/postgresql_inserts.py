"""64 callers on PostgreSQL against what PostgreSQL allows: batches inserted by psycopg alone.

The rival has one connection, tables of the same layout and indexes, and commits each batch by one
INSERT from unnest; see `scripts.bench.inserting`. Its rows are ready before its time begins.
"""

from __future__ import annotations

from contextlib import closing

from eskernel_stores.sql import SqlStore
from scripts.bench.figure import Figure
from scripts.bench.inserting import compare_inserts
from scripts.bench.places import postgresql
from scripts.bench.rivals.raw_psycopg import RawBatches
from scripts.bench.timing import Say

_COMMANDS = 6_400


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the ratio."""
    with (
        postgresql() as server,
        closing(SqlStore(server.new_schema())) as store,
        closing(RawBatches(server.new_schema())) as raw,
    ):
        rivals = {"raw inserts": raw.insert}
        return compare_inserts("PostgreSQL", store, rivals, _COMMANDS, scale, say)
