"""Loads on kernels that projections follow, and on kernels that nothing follows.

A run has a store and a kernel of its own. What its projections do is part of it as long as commands
come in; what is left then is timed by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from statistics import median
from time import perf_counter
from typing import NamedTuple

from domains import account_balances
from eskernel import Command, Kernel
from eskernel.contracts import EventStore
from scripts.bench.accounts import DOMAINS, TYPE, Step, account
from scripts.bench.callers import shares_load
from scripts.bench.catching_up import PATIENCE
from scripts.bench.figure import Figure
from scripts.bench.timing import Load, Rates, Say, alternate

THREE = ("first", "second", "third")
"""Names of projections, each of all balances."""
_FUNDS = 10**9
_HOUR = 3600.0

NewStore = Callable[[], AbstractContextManager[EventStore]]


class Left(NamedTuple):
    """What projections had not seen when the last command was answered.

    Attributes:
        lags: by how many events each was behind.
        seconds: until the last of them had seen all.
    """

    lags: list[int]
    seconds: float


def compare_followed(
    name: str,
    new_store: NewStore,
    accounts: int,
    shares: Sequence[Sequence[Step]],
    rounds: int,
    say: Say,
) -> Figure:
    """Return the dispatch rate with three projections against the one with none.

    Args:
        name: of the figure.
        new_store: makes a store for one run.
        accounts: how many accounts have funds before a run begins.
        shares: the steps of each caller.
        rounds: how often to compare.
        say: takes a word on the progress.
    """
    left: list[Left] = []
    count = sum(map(len, shares))

    def run(projections: Sequence[str]) -> float:
        with new_store() as store:
            return _run(store, projections, accounts, shares, left)

    ours, theirs = Load(count, lambda: run(THREE)), Load(count, lambda: run(()))
    rates = alternate(rounds, ours, theirs, say)
    return _beside(rates.figure(name, at_least=0.5), count, left, rates)


def _run(
    store: EventStore,
    projections: Sequence[str],
    accounts: int,
    shares: Sequence[Sequence[Step]],
    left: list[Left],
) -> float:
    attached = dict.fromkeys(projections, account_balances)
    with Kernel(DOMAINS, store, passivation_timeout=_HOUR, projections=attached) as kernel:
        for number in range(accounts):
            kernel.dispatch(Command(TYPE, account(number), "deposit", {"amount": _FUNDS}))
        taken = shares_load(kernel, shares).run()
        assert taken is not None
        if projections:
            left.append(_what_is_left(kernel, projections, store.last_position()))
        return taken


def _what_is_left(kernel: Kernel, names: Sequence[str], last: int) -> Left:
    start = perf_counter()
    lags = [last - kernel.projection(name).position for name in names]
    for name in names:
        kernel.projection(name).wait_for(last, PATIENCE)
    return Left(lags, perf_counter() - start)


def _beside(figure: Figure, count: int, left: Sequence[Left], rates: Rates) -> Figure:
    """Return a figure that shows what was left, too."""
    counted = left[1:]  # without the first round, as everywhere
    lag = median(max(each.lags) for each in counted)
    seconds = median(each.seconds for each in counted)
    shown = (
        f"{figure.shown}; behind by {lag:,.0f} of {count:,} after "
        f"{count / median(rates.ours):.1f} s, caught up in {seconds:.2f} s"
    )
    details = {**figure.details, "lags": [each.lags for each in counted], "catch_up": seconds}
    return replace(figure, shown=shown, details=details)
