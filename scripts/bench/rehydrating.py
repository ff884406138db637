"""Rehydrating one aggregate, timed."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from functools import partial
from time import perf_counter

from eskernel.contracts import EventStore
from scripts.bench.accounts import TYPE, running
from scripts.bench.streams import Batching, fill
from scripts.bench.timing import Load, Say, rounds, scaled, take_turns

ONE_BY_ONE = "one by one"
LENGTH = 10_000
AT_ONCE = {"at once": LENGTH, "by tens": 10, ONE_BY_ONE: 1}
"""How many events one append has."""
_ROUNDS = 5


def time_rehydration(store: EventStore, aggregate_id: str, length: int) -> float:
    """Return the seconds until a kernel new to the store knows an aggregate's state."""
    with running(0, store) as kernel:
        gc.collect()
        start = perf_counter()
        _, sequence = kernel.state_of(TYPE, aggregate_id)
        taken = perf_counter() - start
    assert sequence == length
    return taken


def rehydrate_each_way(
    store: Batching, scale: float, say: Say, ways: Mapping[str, int] = AT_ONCE
) -> dict[str, list[float]]:
    """Return the rates at which streams of 10,000 events come back, by how they were appended.

    Args:
        store: the store, empty.
        scale: as for every measure.
        say: takes a word on the progress.
        ways: how many events one append has.
    """
    length = scaled(LENGTH, scale)
    loads = {}
    for how, at_once in ways.items():
        say(f"filling a stream {how}")
        fill(store, how, length, at_once)
        loads[how] = Load(length, partial(time_rehydration, store, how, length))
    return take_turns(rounds(_ROUNDS, scale), loads, say)
