"""From a commit in another process to its event being visible in a projection; for information.

The other process, see `scripts.bench.pacer`, dispatches now and then; this one runs the projection.
PostgreSQL tells of commits by NOTIFY; in a SQLite file they are found by looking every 0.1 seconds.
"""

from __future__ import annotations

from contextlib import closing
from time import monotonic

from domains import account_balances
from eskernel import Kernel
from eskernel_stores.sql import SqlStore
from scripts.bench.accounts import DOMAINS
from scripts.bench.catching_up import PATIENCE
from scripts.bench.figure import Figure
from scripts.bench.pacer import Pacer
from scripts.bench.places import folder, postgresql, sqlite_store
from scripts.bench.timing import Say, quantile, scaled

_COMMANDS = 200


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the medians in milliseconds."""
    count = scaled(_COMMANDS, scale, 3)
    say("on SQLite")
    with folder() as place:
        path = place / "ours.db"
        with closing(sqlite_store(path)) as store:
            figures = [_figure("SQLite", store, f"sqlite:///{path}", count)]
    say("on PostgreSQL")
    with postgresql() as server:
        url = server.new_schema()
        with closing(SqlStore(url)) as store:
            return [*figures, _figure("PostgreSQL", store, url, count)]


def _figure(where: str, store: SqlStore, url: str, count: int) -> Figure:
    with (
        Kernel(DOMAINS, store, projections={"balances": account_balances}) as kernel,
        closing(Pacer(url, count)) as pacer,
    ):
        first = store.last_position()
        projection = kernel.projection("balances")
        projection.wait_for(first, PATIENCE)
        pacer.begin()
        visible = []
        for position in range(first + 1, first + count + 1):
            projection.wait_for(position, PATIENCE)
            visible.append(monotonic())
        answered = pacer.answered()
    pairs = zip(visible, answered, strict=True)
    # Visible before its caller has heard of it, as may be, is at once.
    taken = [max(0.0, seen - done) * 1000 for seen, done in pairs]
    p50, p99 = quantile(taken, 0.5), quantile(taken, 0.99)
    shown = f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {max(taken):.1f} ms"
    details = {"p50": p50, "p99": p99, "max": max(taken)}
    name = f"{where}, a commit in another process until visible"
    return Figure(name, p50, "ms", shown, details=details)
