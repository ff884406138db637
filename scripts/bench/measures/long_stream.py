"""An append to a stream of 1,000,000 events against one to a stream of 10.

Both streams are in one store. Ten appends to the long stream and ten to a stream of 10 events are
timed in turn, two thousand times, each time to another of the short streams, so that these stay
short. Once by the store's own append with events made beforehand, once by dispatch to live
aggregates. The ratio is that of the medians.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import median
from time import perf_counter

from eskernel import Command, Event, Kernel
from eskernel_stores import MemoryStore
from scripts.bench.accounts import TYPE, running
from scripts.bench.figure import RATIO, Figure
from scripts.bench.streams import fill
from scripts.bench.timing import Say, scaled

_SHORT = 10
_IN_TURN = 10
_LONG = "long"

Timed = Callable[[str, int], float]
"""Appends `_IN_TURN` events to the stream that ends at a sequence; returns the seconds."""


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the ratio of the store's append, and that of dispatch."""
    length, turns = scaled(1_000_000, scale), scaled(2_000, scale)
    store = MemoryStore()
    say(f"filling a stream with {length:,} events")
    fill(store, _LONG, length)
    names = [f"short-{number}" for number in range(turns)]
    for name in names:
        fill(store, name, _SHORT)
    say("appending")
    appended = _compare(partial(_append, store), names, length)
    say("dispatching")
    with running(0, store) as kernel:
        for name in (_LONG, *names):  # the first command rehydrates
            kernel.dispatch(_deposit(name))
        dispatched = _compare(partial(_dispatch, kernel), names, length)
    where = f"to a stream of {length:,} events against {_SHORT}"
    return [
        _figure(f"append {where}", appended),
        _figure(f"dispatch {where}", dispatched),
    ]


def _compare(timed: Timed, names: list[str], length: int) -> tuple[float, float]:
    """Return the median seconds of one append: to the long stream, to the short ones."""
    long, short = [], []
    for number, name in enumerate(names):
        long.append(timed(_LONG, length + number * _IN_TURN))
        short.append(timed(name, _SHORT))
    return median(long) / _IN_TURN, median(short) / _IN_TURN


def _append(store: MemoryStore, name: str, last: int) -> float:
    stream_id = (TYPE, name)
    payload = {"type": "deposited", "amount": 300}
    sequences = range(last + 1, last + _IN_TURN + 1)
    events = [Event(stream_id, sequence, "deposited", payload) for sequence in sequences]
    start = perf_counter()
    for event in events:
        store.append(stream_id, (event,), expected_sequence=event.sequence - 1)
    return perf_counter() - start


def _dispatch(kernel: Kernel, name: str, _last: int) -> float:
    todo = [_deposit(name) for _ in range(_IN_TURN)]
    start = perf_counter()
    for command in todo:
        kernel.dispatch(command)
    return perf_counter() - start


def _deposit(name: str) -> Command:
    return Command(TYPE, name, "deposit", {"amount": 300})


def _figure(name: str, seconds: tuple[float, float]) -> Figure:
    long, short = seconds
    shown = f"{long * 1e6:.2f} µs against {short * 1e6:.2f} µs"
    return Figure(name, long / short, RATIO, shown, None, 1.1)
