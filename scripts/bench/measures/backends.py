"""Every backend at the same work, for information; a table with a row for each.

Dispatched are deposits to, and withdrawals from, 100 accounts, by 1, 16 and 64 callers. Rehydrated
is a stream of 10,000 events, appended at once and one by one. A projection catches up with a log of
appends of one event to 100 accounts in turn. Each rate is a median.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from statistics import median

from scripts.bench.accounts import LIVE, running
from scripts.bench.backends import BACKENDS, Backend, NewStore
from scripts.bench.callers import MANY, MORE, callers_load
from scripts.bench.catching_up import time_balances
from scripts.bench.figure import Figure, a_second
from scripts.bench.latencies import Latencies
from scripts.bench.long_logs import fill_by_batches
from scripts.bench.rehydrating import AT_ONCE, ONE_BY_ONE, rehydrate_each_way
from scripts.bench.timing import Load, Say, scaled, size_for, take_turns

_ROUNDS, _SECONDS = 3, 0.5
_WAYS = {how: AT_ONCE[how] for how in ("at once", ONE_BY_ONE)}


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the figures of all backends."""
    return [figure for backend in BACKENDS for figure in _figures(backend, scale, say)]


def _figures(backend: Backend, scale: float, say: Say) -> Iterator[Figure]:
    def tell(word: str) -> None:
        say(f"{backend.name}, {word}")

    tell("starting")
    with backend.place() as new_store:
        yield from _dispatching(backend, new_store, scale, tell)
        if backend.is_read:
            yield from _rehydrating(backend, new_store, scale, tell)
            yield _catching_up(backend, new_store, scale, tell)


def _dispatching(backend: Backend, new_store: NewStore, scale: float, say: Say) -> Iterator[Figure]:
    latencies = {callers: Latencies() for callers in (1, MANY, MORE)}
    with closing(new_store()) as store, running(store=store) as kernel:
        loads = {}
        for callers, each in latencies.items():
            load_of = partial(callers_load, kernel, callers)
            count = size_for(load_of, _SECONDS * scale, MORE)
            loads[callers] = load_of(count, latencies=each)
        rates = take_turns(_ROUNDS, loads, say)
    for callers, each in latencies.items():
        column = f"{callers} caller{'s' if callers > 1 else ''}; p50, p99"
        yield each.beside(_figure(backend, column, rates[callers]))


def _rehydrating(backend: Backend, new_store: NewStore, scale: float, say: Say) -> Iterator[Figure]:
    with closing(new_store()) as store:
        for how, rates in rehydrate_each_way(store, scale, say, _WAYS).items():
            yield _figure(backend, f"rehydration, {how}", rates)


def _catching_up(backend: Backend, new_store: NewStore, scale: float, say: Say) -> Figure:
    with closing(new_store()) as store:
        length = scaled(backend.log_length, scale, LIVE) // LIVE * LIVE
        say(f"filling a log with {length:,} events")
        fill_by_batches(store, length)
        load = Load(length, partial(time_balances, store, length))
        rates = take_turns(_ROUNDS, {"": load}, say)[""]
        figure = _figure(backend, "catch-up", rates)
        return replace(figure, details={**figure.details, "events": length})


def _figure(backend: Backend, what: str, rates: list[float]) -> Figure:
    rate, cell = median(rates), (backend.name, what)
    return Figure(": ".join(cell), rate, "/s", a_second(rate), details={"rates": rates}, cell=cell)
