"""One aggregate that all of 16 callers want, against 100 aggregates with 16 callers."""

from __future__ import annotations

from scripts.bench.accounts import running
from scripts.bench.callers import MANY, callers_load
from scripts.bench.figure import Figure
from scripts.bench.timing import Say, alternate, scaled

_ROUNDS = 5


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the ratio: the median of five."""
    count = scaled(50_000, scale, MANY)
    with running() as kernel:
        hot, spread = callers_load(kernel, MANY, count, 1), callers_load(kernel, MANY, count)
        rates = alternate(_ROUNDS, hot, spread, say)
    return [rates.figure(f"1 hot aggregate against 100, {MANY} callers", at_least=0.5)]
