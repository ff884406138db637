"""A load that keeps a core busy: options to be priced, about a millisecond of Python each."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from domains import pricing
from eskernel import Command
from scripts.bench.accounts import AnyKernel
from scripts.bench.callers import MANY, together
from scripts.bench.timing import Load

TYPE = "pricing"
DOMAINS = {TYPE: pricing}
_BOOKS = 64
_PUT = {"spot": 5000, "strike": 5000, "days": 152, "volatility": 0.4, "rate": 0.1}


def quotes_load(kernel: AnyKernel, count: int) -> Load:
    """Return a load of quotes; each of `MANY` threads makes the next one that nobody has begun."""

    def run() -> float:
        numbers = iter(range(count))
        return together([partial(_quote, kernel, numbers)] * MANY)

    return Load(count, run)


def _quote(kernel: AnyKernel, numbers: Iterator[int]) -> None:
    for number in numbers:  # all threads share the iterator, whose steps the interpreter lock keeps
        kernel.dispatch(Command(TYPE, f"book-{number % _BOOKS}", "quote", _PUT))
