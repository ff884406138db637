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

LENGTH = 10_000
"""Events of a stream."""
ONE_BY_ONE = "one by one"
AT_ONCE = {"at once": LENGTH, "by tens": 10, ONE_BY_ONE: 1}
"""Events of one append, by what such a stream is called."""
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
    """Return, by way, the events a second at which streams of 10,000 events come back.

    Args:
        store: the store, empty.
        scale: as for every measure.
        say: takes a word on the progress.
        ways: some of `AT_ONCE`.
    """
    length = scaled(LENGTH, scale)
    loads = {}
    for how, at_once in ways.items():
        say(f"filling a stream {how}")
        fill(store, how, length, at_once)
        loads[how] = Load(length, partial(time_rehydration, store, how, length))
    return take_turns(rounds(_ROUNDS, scale), loads, say)
