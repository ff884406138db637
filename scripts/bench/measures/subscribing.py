"""Events a second that a subscription on SQLite hands out, to a loop and to a callback.

For information. The log is there before; each event's payload is looked into.
"""

from __future__ import annotations

import threading
from contextlib import closing
from itertools import islice
from statistics import median
from time import perf_counter

from eskernel import Event, Kernel
from scripts.bench.accounts import LIVE
from scripts.bench.accounts import running as running_kernel
from scripts.bench.catching_up import PATIENCE
from scripts.bench.figure import Figure, a_second
from scripts.bench.long_logs import fill_sqlite
from scripts.bench.places import folder, sqlite_store
from scripts.bench.streams import AMOUNT
from scripts.bench.timing import Load, Say, rounds, scaled, take_turns

_LENGTH, _ROUNDS = 200_000, 5


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the rates of both."""
    length = scaled(_LENGTH, scale, LIVE)
    with folder() as place, closing(sqlite_store(place / "ours.db")) as store:
        fill_sqlite(store, place / "ours.db", length)
        with running_kernel(0, store) as kernel:
            loads = {
                "an iterator": Load(length, lambda: _iterate(kernel, length)),
                "a callback": Load(length, lambda: _call(kernel, length)),
            }
            rates = take_turns(rounds(_ROUNDS, scale), loads, say)
    return [_figure(kind, each) for kind, each in rates.items()]


def _iterate(kernel: Kernel, length: int) -> float:
    start = perf_counter()
    with kernel.subscribe() as events:
        total = sum(event.payload["amount"] for event in islice(events, length))
        taken = perf_counter() - start
    assert total == AMOUNT * length
    return taken


def _call(kernel: Kernel, length: int) -> float:
    total = 0
    complete = threading.Event()

    def add(event: Event) -> None:
        nonlocal total
        total += event.payload["amount"]
        if event.position == length:
            complete.set()

    start = perf_counter()
    with kernel.subscribe(add):
        assert complete.wait(PATIENCE), "the subscription takes too long"
        taken = perf_counter() - start
    assert total == AMOUNT * length
    return taken


def _figure(kind: str, rates: list[float]) -> Figure:
    rate = median(rates)
    name = f"SQLite, events handed to {kind}"
    return Figure(name, rate, "/s", a_second(rate), details={"rates": rates})
