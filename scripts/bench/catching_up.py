"""Projections that catch up with a log, timed.

Run as `python -m scripts.bench.catching_up PATH LENGTH` it prints the bytes of memory the process
has resident when a projection has come 10 %, 50 % and 100 % of the way along the log in a file.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from time import perf_counter
from typing import Any

from domains import account_balances
from eskernel import Kernel
from eskernel.contracts import EventStore
from scripts.bench.accounts import DOMAINS, LIVE, account
from scripts.bench.apart import ROOT
from scripts.bench.places import sqlite_store
from scripts.bench.resident import resident
from scripts.bench.streams import AMOUNT

PATIENCE = 60.0
"""Seconds to wait for a projection."""
MARKS = (0.1, 0.5, 1.0)
"""The shares of the way at which memory is looked at."""
_numbers = itertools.count(1)


def time_catch_up(
    store: EventStore,
    module: Any = account_balances,
    check: Callable[[Any], object] = lambda _: None,
) -> float:
    """Return the seconds from a kernel's start until a new projection has seen the whole log.

    Args:
        store: the log, which keeps the checkpoints as well.
        module: the projection.
        check: looks at the projection when it has.
    """
    last = store.last_position()
    name = f"projection-{next(_numbers)}"  # one without a checkpoint
    kernel = Kernel(DOMAINS, store, projections={name: module})
    start = perf_counter()
    with kernel:
        projection = kernel.projection(name)
        projection.wait_for(last, PATIENCE)
        taken = perf_counter() - start
        check(projection)
        return taken


def time_balances(store: EventStore, length: int) -> float:
    """Return the seconds as `time_catch_up` does, having looked at what was made of the log.

    Args:
        store: the log, of deposits to `LIVE` accounts in turn.
        length: how many.
    """
    return time_catch_up(store, check=lambda made: check_balances(made.state, length))


def check_balances(balances: dict[str, int], length: int) -> None:
    """Raise AssertionError unless these are the balances after so many deposits in turn."""
    assert sum(balances.values()) == AMOUNT * length, "not every deposit was counted"
    assert balances[account(0)] == AMOUNT * -(-length // LIVE), "a deposit went astray"


def memory_on_the_way(path: Path, length: int) -> list[int]:
    """Return the bytes resident at each of `MARKS`, in a fresh process."""
    argv = [sys.executable, "-m", "scripts.bench.catching_up", str(path), str(length)]
    printed = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True)
    return [int(word) for word in printed.stdout.split()]


def _look(path: Path, length: int, tell: Callable[[int], object]) -> None:
    with (
        closing(sqlite_store(path)) as store,
        Kernel(DOMAINS, store, projections={"balances": account_balances}) as kernel,
    ):
        projection = kernel.projection("balances")
        for mark in MARKS:
            projection.wait_for(int(mark * length), PATIENCE)
            tell(resident())


if __name__ == "__main__":
    _look(Path(sys.argv[1]), int(sys.argv[2]), print)
