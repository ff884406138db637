"""What a snapshot at the end of a 100,000-event stream saves; for information."""

from __future__ import annotations

from statistics import median

from eskernel import Command, Kernel
from eskernel_stores import MemoryStore
from scripts.bench.accounts import DOMAINS, TYPE
from scripts.bench.figure import RATIO, Figure
from scripts.bench.rehydrating import time_rehydration
from scripts.bench.streams import fill
from scripts.bench.timing import Say, scaled

_RUNS = 5


def measure(scale: float, say: Say) -> list[Figure]:
    """Return how many times as long it takes without the snapshot."""
    length = scaled(100_000, scale)
    store = MemoryStore()
    fill(store, "acc", length)
    say("without a snapshot")
    without = median(time_rehydration(store, "acc", length) for _ in range(_RUNS))
    _take_snapshot(store)
    say("with one")
    with_one = median(time_rehydration(store, "acc", length + 1) for _ in range(_RUNS))
    name = f"rehydrate {length:,} events without a snapshot against with one"
    shown = f"{without * 1000:.1f} ms against {with_one * 1000:.3f} ms"
    return [Figure(name, without / with_one, RATIO, shown)]


def _take_snapshot(store: MemoryStore) -> None:
    with Kernel(DOMAINS, store, snapshot_interval=1) as kernel:
        kernel.dispatch(Command(TYPE, "acc", "deposit", {"amount": 1}))
    assert store.load_latest((TYPE, "acc")) is not None
