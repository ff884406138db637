"""64 callers on PostgreSQL against what PostgreSQL allows: batches inserted by psycopg alone.

The rival has one connection, tables of the same layout and indexes, and commits batches as large as
ours were on average in the run just before, each by one INSERT from unnest. Its rows are ready
before its time begins.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

from scripts.bench.accounts import running
from scripts.bench.callers import MORE, callers_load
from scripts.bench.figure import Figure
from scripts.bench.latencies import Latencies
from scripts.bench.places import postgresql
from scripts.bench.rivals.raw_psycopg import RawBatches
from scripts.bench.timing import Load, Say, alternate, rounds, scaled
from scripts.bench.wrapped import Counting

_COMMANDS, _ROUNDS = 6_400, 11


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the ratio."""
    count = scaled(_COMMANDS, scale, MORE)
    latencies = Latencies()
    with (
        postgresql() as server,
        closing(Counting(server.new_schema())) as store,
        closing(RawBatches(server.new_schema())) as raw,
        running(store=store) as kernel,
    ):
        store.forget()
        ours = callers_load(kernel, MORE, count, latencies=latencies)
        theirs = Load(ours.size, lambda: raw.insert(ours.size, store.average()))
        rates = alternate(rounds(_ROUNDS, scale), ours, theirs, say)
    name = f"PostgreSQL, {MORE} callers, against raw inserts in batches as large"
    figure = rates.figure(name, at_least=0.4)
    size = store.average()
    shown = f"{figure.shown} in batches of {size}"
    return [
        latencies.beside(replace(figure, shown=shown, details={**figure.details, "size": size}))
    ]
