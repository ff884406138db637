"""Callers: threads that dispatch at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter

from scripts.bench.accounts import LIVE, AnyKernel, Step, dispatch_steps, steps
from scripts.bench.latencies import Latencies
from scripts.bench.timing import Load

MANY = 16
MORE = 64
APART = 2 * MORE
"""How many accounts there are where no two callers share one."""


def callers_load(
    kernel: AnyKernel,
    callers: int,
    count: int,
    accounts: int = LIVE,
    latencies: Latencies | None = None,
) -> Load:
    """Return a load of `count` commands shared by so many threads.

    Each begins at another of the accounts and visits all of them.
    """
    each = count // callers
    shares = [steps(each, accounts, number * accounts // callers) for number in range(callers)]
    return shares_load(kernel, shares, latencies)


def shares_load(
    kernel: AnyKernel, shares: Sequence[Sequence[Step]], latencies: Latencies | None = None
) -> Load:
    """Return a load that dispatches each share of steps on a thread of its own."""
    dispatch = dispatch_steps if latencies is None else latencies.dispatch_steps
    return threads_load([partial(dispatch, kernel, share) for share in shares], shares)


def threads_load(works: Sequence[Callable[[], object]], shares: Sequence[Sequence[Step]]) -> Load:
    """Return a load of works, one thread each, that carry out these shares of steps."""
    return Load(sum(map(len, shares)), partial(together, works))


def shares_apart(callers: int, count: int, first: int = 0) -> list[list[Step]]:
    """Return `count` steps in a share for each caller, no two on the same of `APART` accounts."""
    own = APART // callers
    return [steps(count // callers, own, first=first + number * own) for number in range(callers)]


def together(works: Sequence[Callable[[], object]]) -> float:
    """Do each work on a thread of its own.

    Returns:
        The seconds from the start of all threads to the end of the last.
    """
    ready = threading.Barrier(len(works) + 1)
    failures: list[BaseException] = []

    def call(work: Callable[[], object]) -> None:
        ready.wait()
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - for the main thread to raise
            failures.append(error)

    threads = [threading.Thread(target=call, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    ready.wait()
    start = perf_counter()
    for thread in threads:
        thread.join()
    taken = perf_counter() - start
    if failures:
        raise failures[0]
    return taken
