"""What making a Command or an Event costs, in each of the shapes they could have had.

For information. All shapes have the same fields and defaults, and are made with the same
arguments; the median of several rounds in turn, less what the empty loop costs.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat
from statistics import median
from time import perf_counter
from typing import Any

from eskernel import Command, Event
from scripts.bench import shapes
from scripts.bench.figure import Figure
from scripts.bench.timing import Say, scaled

_ROUNDS = 9
_COMMAND = ("bank_account", "acc-1", "deposit", {"amount": 100})
_EVENT = (("bank_account", "acc-1"), 1, "deposited", {"type": "deposited", "amount": 100})


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the nanoseconds of ours; those of the others are shown beside."""
    count = scaled(50_000, scale)
    say("commands")
    commands = _nanoseconds({"ours": Command, **shapes.COMMANDS}, _COMMAND, count)
    say("events")
    events = _nanoseconds({"ours": Event, **shapes.EVENTS}, _EVENT, count)
    return [_figure("make a Command", commands), _figure("make an Event", events)]


def _nanoseconds(
    makers: dict[str, Callable[..., Any]], arguments: tuple[Any, ...], count: int
) -> dict[str, float]:
    rounds = [
        {name: _time(make, arguments, count) for name, make in makers.items()}
        for _ in range(_ROUNDS)
    ]
    return {name: median(times[name] for times in rounds) for name in makers}


def _time(make: Callable[..., Any], arguments: tuple[Any, ...], count: int) -> float:
    one, two, three, four = arguments
    start = perf_counter()
    for _ in repeat(None, count):
        pass
    empty = perf_counter() - start
    start = perf_counter()
    for _ in repeat(None, count):
        make(one, two, three, four)
    return (perf_counter() - start - empty) / count * 1e9


def _figure(name: str, times: dict[str, float]) -> Figure:
    shown = ", ".join(f"{shape} {nanoseconds:.0f}" for shape, nanoseconds in times.items()) + " ns"
    return Figure(name, times["ours"], "ns", shown, details=times)
