"""The measures, in the order of the table; each module has `measure(scale, say)`.

`scale` is 1 for the figures that count and less for a quick look; `say` takes a word on the
progress. Modules are imported when they run: some need libraries that others do not.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from scripts.bench.figure import Figure
from scripts.bench.timing import Say

Measure = Callable[[float, Say], list[Figure]]

MEASURES = (
    "bare_loop",
    "eventsourcing_app",
    "pykka_asks",
    "many_callers",
    "hot_aggregate",
    "new_aggregates",
    "idle_memory",
    "passivating",
    "long_stream",
    "rehydration",
    "latency",
    "submitting",
    "command_ids",
    "orders",
    "snapshots",
    "creation",
    "sqlite_caller",
    "sqlite_callers",
    "sqlite_hot",
    "sqlite_rehydration",
    "sqlite_long_stream",
    "postgresql_callers",
    "postgresql_inserts",
    "postgresql_processes",
    "postgresql_long_stream",
    "file_callers",
    "jetstream_publishes",
    "mongo_inserts",
    "servers_rehydration",
    "catch_up",
    "catch_up_memory",
    "table_catch_up",
    "visible",
    "followed_memory",
    "followed_sqlite",
    "subscribing",
    "other_process",
    "processes_light",
    "processes_pricing",
    "processes_postgresql",
    "processes_failover",
    "ray_batching",
    "backends",
)
NEED_MORE_THAN_THE_TESTS = (
    *("eventsourcing_app", "creation", "catch_up"),
    *("sqlite_callers", "sqlite_rehydration", "postgresql_callers"),
)
"""Their libraries come with the dependency group `bench` only."""


def load_measure(name: str) -> Measure:
    """Return the function that takes a measure."""
    measure: Measure = import_module(f"{__name__}.{name}").measure
    return measure
