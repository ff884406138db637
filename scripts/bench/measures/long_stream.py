"""An append to a stream of 1,000,000 events against one to a stream of 10, in memory.

See `scripts.bench.long_streams`. Once by the store's own append, once by dispatch to live
aggregates. The ratio is that of the medians of two thousand turns.
"""

from __future__ import annotations

from functools import partial

from eskernel_stores import MemoryStore
from scripts.bench.accounts import running
from scripts.bench.figure import Figure
from scripts.bench.long_streams import (
    LONG,
    SHORT,
    append,
    compare,
    deposit,
    dispatch,
    figure_of,
    short_streams,
)
from scripts.bench.streams import fill
from scripts.bench.timing import Say, scaled

_AT_MOST = 1.1


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the ratio of the store's append, and that of dispatch."""
    length, turns = scaled(1_000_000, scale), scaled(2_000, scale)
    store = MemoryStore()
    say(f"filling a stream with {length:,} events")
    fill(store, LONG, length)
    names = short_streams(store, turns)
    say("appending")
    appended = compare(partial(append, store), names, length)
    say("dispatching")
    with running(0, store) as kernel:
        for name in (LONG, *names):  # the first command rehydrates
            kernel.dispatch(deposit(name))
        dispatched = compare(partial(dispatch, kernel), names, length)
    where = f"to a stream of {length:,} events against {SHORT}"
    return [
        figure_of(f"append {where}", appended, _AT_MOST),
        figure_of(f"dispatch {where}", dispatched, _AT_MOST),
    ]
