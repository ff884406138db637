"""From a dispatch to its event being visible in a projection: `dispatch(..., wait_for=...)`.

One caller, who goes on when the projection has seen the event; in memory and on SQLite.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from time import perf_counter

from domains import account_balances
from eskernel import Command, Kernel
from eskernel.contracts import EventStore
from eskernel_stores import MemoryStore
from scripts.bench.accounts import DOMAINS, TYPE, Step, account, steps
from scripts.bench.figure import Figure
from scripts.bench.places import folder, sqlite_store
from scripts.bench.timing import Say, quantile, scaled

_IN_MEMORY, _ON_SQLITE = 20_000, 4_000
_WAIT_FOR = ("balances",)


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the median and the 99th percentile of each store, in milliseconds."""
    say("in memory")
    figures = _figures("MemoryStore", MemoryStore(), scaled(_IN_MEMORY, scale))
    say("on SQLite")
    with folder() as place, closing(sqlite_store(place / "ours.db")) as store:
        return figures + _figures("SQLite", store, scaled(_ON_SQLITE, scale))


def _figures(where: str, store: EventStore, count: int) -> list[Figure]:
    with Kernel(DOMAINS, store, projections={"balances": account_balances}) as kernel:
        for number in range(100):
            kernel.dispatch(Command(TYPE, account(number), "deposit", {"amount": 10**9}))
        taken = _dispatch(kernel, steps(count))
    p50, p99, worst = quantile(taken, 0.5), quantile(taken, 0.99), max(taken)
    details = {"p50": p50, "p99": p99, "max": worst}
    name = f"{where}, dispatch until visible in a projection"
    return [
        Figure(f"{name}: median", p50, "ms", f"{p50:.2f} ms", None, 2, details),
        Figure(f"{name}: p99", p99, "ms", f"{p99:.2f} ms, max {worst:.2f} ms", None, 20, details),
    ]


def _dispatch(kernel: Kernel, todo: Sequence[Step]) -> list[float]:
    """Return what each dispatch took, in milliseconds."""
    taken = []
    for aggregate_id, kind, amount in todo:
        command = Command(TYPE, aggregate_id, kind, {"amount": amount})
        start = perf_counter()
        kernel.dispatch(command, wait_for=_WAIT_FOR)
        taken.append((perf_counter() - start) * 1000)
    return taken
