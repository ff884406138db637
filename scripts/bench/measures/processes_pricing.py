"""Pricing, a millisecond of Python a command: two worker processes against one kernel, 16 callers.

The stores are in memory.
"""

from __future__ import annotations

from eskernel import Kernel
from eskernel_stores import MemoryStore
from scripts.bench.callers import MANY
from scripts.bench.figure import Figure
from scripts.bench.quotes import DOMAINS, even_books, quotes_load
from scripts.bench.timing import Say, alternate, rounds, scaled
from scripts.bench.workers import WORKERS, working

_COMMANDS, _ROUNDS = 800, 15


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the ratio."""
    count = scaled(_COMMANDS, scale, MANY)
    with working(DOMAINS) as processes, Kernel(DOMAINS, MemoryStore()) as alone:
        books = even_books(processes)
        ours, theirs = (quotes_load(each, books, count) for each in (processes, alone))
        rates = alternate(rounds(_ROUNDS, scale), ours, theirs, say)
    name = f"pricing, {WORKERS} worker processes against 1 kernel, {MANY} callers"
    return [rates.figure(name, at_least=1.8)]
