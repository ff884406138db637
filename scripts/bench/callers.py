"""Callers: threads that dispatch at the same time."""

from __future__ import annotations

import threading
from time import perf_counter

from eskernel import Kernel
from scripts.bench.accounts import LIVE, dispatch_steps, steps
from scripts.bench.timing import Load

MANY = 16


def callers_load(kernel: Kernel, callers: int, count: int, accounts: int = LIVE) -> Load:
    """Return a load of `count` commands shared by so many threads.

    Each begins at another of the accounts and visits all of them.
    """
    each = count // callers
    todo = [steps(each, accounts, number * accounts // callers) for number in range(callers)]
    return Load(each * callers, lambda: _run(kernel, todo))


def _run(kernel: Kernel, todo: list[list[tuple[str, str, int]]]) -> float:
    """Return the seconds from the start of all threads to the end of the last."""
    ready = threading.Barrier(len(todo) + 1)
    failures: list[BaseException] = []

    def call(share: list[tuple[str, str, int]]) -> None:
        ready.wait()
        try:
            dispatch_steps(kernel, share)
        except BaseException as error:  # noqa: BLE001 - for the main thread to raise
            failures.append(error)

    threads = [threading.Thread(target=call, args=(share,), daemon=True) for share in todo]
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
