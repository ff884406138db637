"""The catch-up of `measures.catch_up` with other stores; for information.

The median of three, each by a kernel of its own.
"""

from __future__ import annotations

from contextlib import closing
from statistics import median

from eskernel.contracts import EventStore
from eskernel_stores import MemoryStore
from eskernel_stores.file import FileStore
from eskernel_stores.sql import SqlStore
from scripts.bench.accounts import LIVE
from scripts.bench.catching_up import time_balances
from scripts.bench.figure import Figure, a_second
from scripts.bench.long_logs import fill_by_batches, fill_postgresql
from scripts.bench.places import folder, postgresql
from scripts.bench.timing import Load, Say, scaled, take_turns

_LENGTH, _ROUNDS = 300_000, 3


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the events a second of each."""
    length = scaled(_LENGTH, scale, LIVE) // LIVE * LIVE
    say("in memory")
    memory = MemoryStore()
    fill_by_batches(memory, length)
    figures = [_figure("MemoryStore", memory, length, say)]
    memory.close()
    say("in files")
    with folder() as place, closing(FileStore(place)) as files:
        fill_by_batches(files, length)
        figures.append(_figure("FileStore", files, length, say))
    say("on PostgreSQL")
    with postgresql() as server, closing(SqlStore(server.url())) as store:
        fill_postgresql(store, server, length)
        return [*figures, _figure("PostgreSQL", store, length, say)]


def _figure(where: str, store: EventStore, length: int, say: Say) -> Figure:
    load = Load(length, lambda: time_balances(store, length))
    rates = take_turns(_ROUNDS, {where: load}, lambda word: say(f"{where}, {word}"))[where]
    name = f"{where}, catch-up of a projection with {length:,} events"
    return Figure(name, median(rates), "/s", a_second(median(rates)), details={"rates": rates})
