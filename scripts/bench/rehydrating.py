"""Rehydrating one aggregate, timed."""

from __future__ import annotations

import gc
from time import perf_counter

from eskernel.contracts import EventStore
from scripts.bench.accounts import TYPE, running


def time_rehydration(store: EventStore, aggregate_id: str, length: int) -> float:
    """Return the seconds until a kernel new to the store knows an aggregate's state."""
    with running(0, store) as kernel:
        gc.collect()
        start = perf_counter()
        _, sequence = kernel.state_of(TYPE, aggregate_id)
        taken = perf_counter() - start
    assert sequence == length
    return taken
