"""Appending to a long stream and to short ones, in turn, in one store.

Ten appends to the long stream and ten to a short one are timed in turn, each time to another of the
short streams, so that these stay short.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from time import perf_counter

from eskernel import Command, Event, Kernel
from eskernel.contracts import EventStore
from scripts.bench.accounts import TYPE
from scripts.bench.figure import RATIO, Figure
from scripts.bench.streams import Batching, fill

LONG = "long"
SHORT = 10
IN_TURN = 10

Timed = Callable[[str, int], float]
"""Appends `IN_TURN` events to the stream that ends at a sequence; returns the seconds."""


def short_streams(store: Batching, count: int) -> list[str]:
    """Fill so many short streams and return the ids of their aggregates."""
    names = [f"short-{number}" for number in range(count)]
    for name in names:
        fill(store, name, SHORT)
    return names


def compare(timed: Timed, names: Sequence[str], length: int) -> tuple[float, float]:
    """Return the median seconds of one append: to the long stream, to the short ones."""
    long, short = [], []
    for number, name in enumerate(names):
        long.append(timed(LONG, length + number * IN_TURN))
        short.append(timed(name, SHORT))
    return median(long) / IN_TURN, median(short) / IN_TURN


def append(store: EventStore, name: str, last: int) -> float:
    """Append events made beforehand, each by itself; a `Timed`."""
    stream_id = (TYPE, name)
    payload = {"type": "deposited", "amount": 300}
    sequences = range(last + 1, last + IN_TURN + 1)
    events = [Event(stream_id, sequence, "deposited", payload) for sequence in sequences]
    start = perf_counter()
    for event in events:
        store.append(stream_id, (event,), expected_sequence=event.sequence - 1)
    return perf_counter() - start


def dispatch(kernel: Kernel, name: str, _last: int) -> float:
    """Dispatch commands made beforehand; a `Timed`."""
    todo = [deposit(name) for _ in range(IN_TURN)]
    start = perf_counter()
    for command in todo:
        kernel.dispatch(command)
    return perf_counter() - start


def deposit(name: str) -> Command:
    """Return a command that adds one event."""
    return Command(TYPE, name, "deposit", {"amount": 300})


def figure_of(name: str, seconds: tuple[float, float], at_most: float) -> Figure:
    """Return the comparison as a line of the table."""
    long, short = seconds
    shown = f"{long * 1e6:,.2f} µs against {short * 1e6:,.2f} µs"
    return Figure(name, long / short, RATIO, shown, None, at_most)
