"""Pricing, a millisecond of Python a command: two worker processes against one kernel, 16 callers.

The stores are in memory. Books of quotes are shared out evenly between the workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from domains import pricing
from eskernel import Command, Kernel
from eskernel.processes import ProcessKernel
from eskernel_stores import MemoryStore
from scripts.bench.accounts import AnyKernel
from scripts.bench.callers import MANY, together
from scripts.bench.figure import Figure
from scripts.bench.timing import Load, Say, alternate, rounds, scaled
from scripts.bench.workers import WORKERS

_COMMANDS, _ROUNDS, _BOOKS = 800, 15, 64
_DOMAINS = {"pricing": pricing}
_PUT = {"spot": 5000, "strike": 5000, "days": 152, "volatility": 0.4, "rate": 0.1}


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the ratio."""
    count = scaled(_COMMANDS, scale, MANY)
    with (
        ProcessKernel(_DOMAINS, "memory:", workers=WORKERS) as processes,
        Kernel(_DOMAINS, MemoryStore()) as alone,
    ):
        ours, theirs = _load(processes, count), _load(alone, count)
        rates = alternate(rounds(_ROUNDS, scale), ours, theirs, say)
    name = f"pricing, {WORKERS} worker processes against 1 kernel, {MANY} callers"
    return [rates.figure(name, at_least=1.8)]


def _load(kernel: AnyKernel, count: int) -> Load:
    each, own = count // MANY, _BOOKS // MANY
    shares = [
        [f"book-{caller * own + turn % own}" for turn in range(each)] for caller in range(MANY)
    ]
    works = [partial(_quote, kernel, share) for share in shares]
    return Load(each * MANY, partial(together, works))


def _quote(kernel: AnyKernel, books: Sequence[str]) -> None:
    for book in books:
        kernel.dispatch(Command("pricing", book, "quote", _PUT))
