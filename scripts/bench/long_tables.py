"""Long streams in tables: made by the database itself, which takes seconds where appends take many.

The rows are those that one append of all the events would have stored.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from eskernel import Kernel, Snapshot
from eskernel_stores.sql import SqlStore
from scripts.bench.accounts import DOMAINS, TYPE, running
from scripts.bench.figure import Figure
from scripts.bench.latencies import Latencies
from scripts.bench.long_streams import (
    LONG,
    SHORT,
    append,
    compare,
    deposit,
    figure_of,
    short_streams,
)
from scripts.bench.streams import fill
from scripts.bench.timing import Say

_AT_MOST = 1.2
_REST = "type, payload, metadata, tags, timestamp, command_id, append_id"
_COPY_FIRST = f"""
INSERT INTO eskernel_events (position, aggregate_type, aggregate_id, sequence, {_REST})
WITH RECURSIVE number(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM number WHERE n < %d)
SELECT n, aggregate_type, aggregate_id, n, {_REST}
FROM number, eskernel_events WHERE position = 1
"""  # noqa: S608 - no value comes from outside


def fill_long(store: SqlStore, length: int, execute: Callable[[str], object]) -> None:
    """Fill an empty store with one stream of deposits, and keep a snapshot at its end.

    Args:
        store: the store.
        length: how many events.
        execute: runs a statement in the store's database, and commits it.
    """
    fill(store, LONG, 1)
    execute(_COPY_FIRST % length)
    _keep_snapshot(store, length)


def _keep_snapshot(store: SqlStore, length: int) -> None:
    """Store the snapshot a kernel would have, which alone knows the domain's version."""
    with Kernel(DOMAINS, store, snapshot_interval=1) as kernel:
        kernel.dispatch(deposit("pattern"))
    pattern = store.load_latest((TYPE, "pattern"))
    assert pattern is not None
    state = {"balance": 300 * length}
    store.store(Snapshot((TYPE, LONG), length, state, pattern.version))


def compare_lengths(store: SqlStore, length: int, turns: int, where: str, say: Say) -> Figure:
    """Return what an append to the long stream costs against one to a short stream."""
    say("filling short streams")
    names = short_streams(store, turns)
    say("appending")
    appended = compare(partial(append, store), names, length)
    latencies = Latencies()
    with running(0, store) as kernel:
        kernel.dispatch(deposit(LONG))
        latencies.dispatch_steps(kernel, [(LONG, "deposit", 300)] * turns)
    name = f"{where}: append to a stream of {length:,} events against one of {SHORT}"
    return latencies.beside(figure_of(name, appended, _AT_MOST))
