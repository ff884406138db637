"""One aggregate that all of 16 callers want, on SQLite, against one command per commit.

The rival is the same kernel on a store that cannot batch, so that the kernel commits one by one.
"""

from __future__ import annotations

from contextlib import closing
from functools import partial

from scripts.bench.accounts import running
from scripts.bench.callers import MANY, callers_load
from scripts.bench.cores import here_and_on_one_core
from scripts.bench.figure import Figure
from scripts.bench.latencies import Latencies
from scripts.bench.places import folder, sqlite_store
from scripts.bench.timing import Say, alternate, rounds, scaled
from scripts.bench.wrapped import Unbatched

_COMMANDS, _ALONE, _ROUNDS = 3_200, 400, 15


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the ratio, and the one on a single core."""
    return here_and_on_one_core(partial(_compare, scale, say))


def _compare(scale: float, say: Say) -> Figure:
    latencies = Latencies()
    with (
        folder() as place,
        closing(sqlite_store(place / "ours.db")) as store,
        closing(sqlite_store(place / "theirs.db")) as other,
        running(1, store) as kernel,
        running(1, Unbatched(other)) as one_by_one,
    ):
        ours = callers_load(kernel, MANY, scaled(_COMMANDS, scale, MANY), 1, latencies)
        theirs = callers_load(one_by_one, MANY, scaled(_ALONE, scale, MANY), 1)
        rates = alternate(rounds(_ROUNDS, scale), ours, theirs, say)
    name = f"SQLite, 1 hot aggregate, {MANY} callers, against a commit for each"
    return latencies.beside(rates.figure(name, at_least=4))
