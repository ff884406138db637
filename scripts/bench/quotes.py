"""A load that keeps a core busy: options to be priced, about a millisecond of Python each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from domains import pricing
from eskernel import Command
from eskernel.processes import ProcessKernel
from scripts.bench.accounts import AnyKernel
from scripts.bench.callers import MANY, together
from scripts.bench.timing import Load

TYPE = "pricing"
DOMAINS = {TYPE: pricing}
_CANDIDATES = 64
_PUT = {"spot": 5000, "strike": 5000, "days": 152, "volatility": 0.4, "rate": 0.1}


def even_books(kernel: ProcessKernel) -> list[str]:
    """Return a book for each of `MANY` callers; every worker has as many of them, live."""
    for number in range(_CANDIDATES):
        _quote(kernel, f"book-{number}", 1)
    tree = kernel.tree(max_aggregates=_CANDIDATES)
    workers = [node for node in tree.children if node.actor.startswith("process ")]
    each = MANY // len(workers)
    books = []
    for worker in workers:
        names = [node.name for node in worker.walk() if node.name.startswith(f"{TYPE}/")]
        books += [name.removeprefix(f"{TYPE}/") for name in names[:each]]
    assert len(books) == MANY, "a worker has too few of the candidates"
    return books


def quotes_load(kernel: AnyKernel, books: Sequence[str], count: int) -> Load:
    """Return a load of quotes, an equal share in each book, by a thread of its own."""
    each = count // len(books)
    works = [partial(_quote, kernel, book, each) for book in books]
    return Load(each * len(books), partial(together, works))


def _quote(kernel: AnyKernel, book: str, count: int) -> None:
    for _ in range(count):
        kernel.dispatch(Command(TYPE, book, "quote", _PUT))
