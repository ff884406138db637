"""Bringing an aggregate with 100,000 events back, domain calls included.

Timed is the first read of its state by a kernel that has not seen it; the median of seven.
"""

from __future__ import annotations

from statistics import median

from eskernel_stores import MemoryStore
from scripts.bench.figure import Figure, a_second
from scripts.bench.rehydrating import time_rehydration
from scripts.bench.streams import fill
from scripts.bench.timing import Say, scaled

_RUNS = 7


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the events a second."""
    length = scaled(100_000, scale)
    store = MemoryStore()
    fill(store, "acc", length)
    taken = []
    for number in range(_RUNS):
        say(f"run {number + 1} of {_RUNS}")
        taken.append(time_rehydration(store, "acc", length))
    rate = length / median(taken)
    name = f"rehydrate a {length:,}-event stream"
    details = {"seconds": taken}
    shown = f"{a_second(rate)}; {median(taken) * 1000:.0f} ms in all"
    return [Figure(name, rate, "/s", shown, at_least=500_000, details=details)]
