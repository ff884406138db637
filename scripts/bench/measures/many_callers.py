"""16 calling threads against one, on 100 aggregates: what contention costs.

The interpreter lock allows no more than 1. The number of commands is the same, and the one caller
is a thread of its own, too.
"""

from __future__ import annotations

from scripts.bench.accounts import running
from scripts.bench.callers import MANY, callers_load
from scripts.bench.figure import Figure
from scripts.bench.timing import Say, alternate, scaled

_ROUNDS = 5


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the ratio: the median of five."""
    count = scaled(100_000, scale, MANY)
    with running() as kernel:
        sixteen, one = callers_load(kernel, MANY, count), callers_load(kernel, 1, count)
        rates = alternate(_ROUNDS, sixteen, one, say)
    return [rates.figure(f"{MANY} callers against 1", at_least=0.6)]
