"""One caller on SQLite against what SQLite allows: commits of one row by the module `sqlite3`.

Both commit into the same table on the same disk, in files of their own, with a write-ahead log and
synchronous=FULL. The rival's rows are ready before its time begins.
"""

from __future__ import annotations

from contextlib import closing
from functools import partial

from scripts.bench.accounts import running, steps
from scripts.bench.cores import here_and_on_one_core
from scripts.bench.figure import Figure
from scripts.bench.latencies import Latencies
from scripts.bench.places import folder, sqlite_store
from scripts.bench.rivals.raw_sqlite import RawRows
from scripts.bench.timing import Load, Say, alternate, rounds, scaled

_COMMANDS, _ROUNDS = 300, 41


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the ratio, and the one on a single core."""
    return here_and_on_one_core(partial(_compare, scale, say))


def _compare(scale: float, say: Say) -> Figure:
    todo = steps(scaled(_COMMANDS, scale))
    latencies = Latencies()
    with (
        folder() as place,
        closing(sqlite_store(place / "ours.db")) as store,
        closing(RawRows(place / "theirs.db")) as raw,
        running(store=store) as kernel,
    ):
        ours = Load(len(todo), partial(latencies.dispatch_steps, kernel, todo))
        theirs = Load(len(todo), partial(raw.insert, todo))
        rates = alternate(rounds(_ROUNDS, scale), ours, theirs, say)
    figure = rates.figure("SQLite, 1 caller, against raw commits of one row", at_least=0.6)
    return latencies.beside(figure)
