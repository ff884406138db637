"""A projection that catches up with 1,000,000 events in SQLite, against `eventsourcing`.

Timed is the time from a kernel's start until a projection without a checkpoint has seen the last
event; it stores state and position on its way, as often as ever. The library's has fewer events, of
the same payload, in a file of its own. What it makes of them survives a restart, as ours does, if
the view is in SQLite; against its view in memory, which does not, the figure only informs.
"""

from __future__ import annotations

import itertools
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import median

from scripts.bench.accounts import LIVE
from scripts.bench.catching_up import time_balances
from scripts.bench.figure import Figure, a_second
from scripts.bench.long_logs import fill_sqlite
from scripts.bench.places import folder, sqlite_store
from scripts.bench.rivals.eventsourcing_projection import fill_bank, time_projection
from scripts.bench.streams import AMOUNT
from scripts.bench.timing import Load, Rates, Say, rounds, scaled, take_turns

_LENGTH, _THEIR_LENGTH, _STORED_LENGTH, _ROUNDS = 1_000_000, 100_000, 5_000, 5


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the events a second, and the ratios to both of the library's views."""
    length = scaled(_LENGTH, scale, LIVE)
    with folder() as place, closing(sqlite_store(place / "ours.db")) as store:
        say(f"filling a log with {length:,} events")
        fill_sqlite(store, place / "ours.db", length)
        loads = {
            "ours": Load(length, partial(time_balances, store, length)),
            "stored": _theirs(place, "stored", scaled(_STORED_LENGTH, scale, LIVE)),
            "memory": _theirs(place, "memory", scaled(_THEIR_LENGTH, scale, LIVE)),
        }
        rates = take_turns(rounds(_ROUNDS, scale), loads, say)
    ours = rates["ours"]
    return [
        _rate(ours, length),
        Rates(ours, rates["stored"]).figure("SQLite, catch-up against eventsourcing 9.5", 10),
        Rates(ours, rates["memory"]).figure("SQLite, catch-up against its view in memory"),
    ]


def _theirs(place: Path, kind: str, length: int) -> Load:
    path = place / f"{kind}.db"
    last = fill_bank(path, length, LIVE)
    total = (last - LIVE) * AMOUNT
    numbers = itertools.count()

    def run() -> float:
        view = place / f"view-{next(numbers)}.db" if kind == "stored" else None
        return time_projection(path, last, total, view)

    return Load(last, run)


def _rate(rates: list[float], length: int) -> Figure:
    rate = median(rates)
    name = f"SQLite, catch-up of a projection with {length:,} events"
    details = {"rates": rates}
    shown = f"{a_second(rate)}; slowest {a_second(min(rates))}"
    return Figure(name, rate, "/s", shown, at_least=150_000, details=details)
