"""Two worker processes on one PostgreSQL against one kernel there.

First they price options, a millisecond of Python each. Then they move money in accounts, where
nearly all the work is storing, and PostgreSQL has the same cores; that is for information, as is
one worker process instead of the kernel.
"""

from __future__ import annotations

from contextlib import ExitStack, closing

from eskernel import Kernel
from eskernel_stores.sql import SqlStore
from scripts.bench import accounts, quotes
from scripts.bench.accounts import HOUR, AnyKernel
from scripts.bench.callers import MANY, MORE, shares_apart, shares_load
from scripts.bench.figure import Figure
from scripts.bench.places import Server, postgresql
from scripts.bench.quotes import even_books, quotes_load
from scripts.bench.timing import Rates, Say, alternate, rounds, scaled, take_turns
from scripts.bench.workers import WORKERS, working

_QUOTES, _COMMANDS, _ROUNDS = 800, 3_200, 9
_DOMAINS = {**quotes.DOMAINS, **accounts.DOMAINS}
_NAME = f"PostgreSQL, {WORKERS} worker processes against 1"


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the ratios."""
    with ExitStack() as stack:
        server = stack.enter_context(postgresql())
        two = stack.enter_context(working(_DOMAINS, server.new_schema()))
        one = stack.enter_context(working(_DOMAINS, server.new_schema(), workers=1))
        kernel = stack.enter_context(_kernel(stack, server))
        count, turns = scaled(_QUOTES, scale, MANY), rounds(_ROUNDS, scale)
        books = even_books(two)
        ours, theirs = (quotes_load(each, books, count) for each in (two, kernel))
        pricing = alternate(turns, ours, theirs, say)
        shares = shares_apart(MORE, scaled(_COMMANDS, scale, MORE))
        kernels: dict[str, AnyKernel] = {"two": two, "one": one, "kernel": kernel}
        loads = {name: shares_load(each, shares) for name, each in kernels.items()}
        storing = take_turns(turns, loads, say)
    return [
        pricing.figure(f"{_NAME} kernel, pricing, {MANY} callers", at_least=1.3),
        Rates(storing["two"], storing["kernel"]).figure(f"{_NAME} kernel, {MORE} callers"),
        Rates(storing["two"], storing["one"]).figure(f"{_NAME} of them, {MORE} callers"),
    ]


def _kernel(stack: ExitStack, server: Server) -> Kernel:
    store = stack.enter_context(closing(SqlStore(server.new_schema())))
    return Kernel(_DOMAINS, store, passivation_timeout=HOUR)
