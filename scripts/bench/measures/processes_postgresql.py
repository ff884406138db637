"""Two worker processes on one PostgreSQL against one kernel, and against one worker process.

All have 64 callers, each on accounts of its own, and a schema of their own.
"""

from __future__ import annotations

from contextlib import ExitStack, closing

from eskernel_stores.sql import SqlStore
from scripts.bench.accounts import running
from scripts.bench.callers import MORE, shares_apart, shares_load
from scripts.bench.figure import Figure
from scripts.bench.places import postgresql
from scripts.bench.timing import Rates, Say, rounds, scaled, take_turns
from scripts.bench.workers import working

_COMMANDS, _ROUNDS = 3_200, 9


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the ratios."""
    shares = shares_apart(MORE, scaled(_COMMANDS, scale, MORE) // MORE * MORE)
    with ExitStack() as stack:
        server = stack.enter_context(postgresql())
        store = stack.enter_context(closing(SqlStore(server.new_schema())))
        kernels = {
            "two": stack.enter_context(working(0, server.new_schema(), 2)),
            "one": stack.enter_context(working(0, server.new_schema(), 1)),
            "kernel": stack.enter_context(running(0, store)),
        }
        loads = {name: shares_load(kernel, shares) for name, kernel in kernels.items()}
        rates = take_turns(rounds(_ROUNDS, scale), loads, say)
    name = f"PostgreSQL, {MORE} callers: 2 worker processes against 1"
    return [
        Rates(rates["two"], rates["kernel"]).figure(f"{name} kernel", at_least=1.3),
        Rates(rates["two"], rates["one"]).figure(f"{name} of them"),
    ]
