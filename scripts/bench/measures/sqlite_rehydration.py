"""Bringing an aggregate with 100,000 events back from SQLite, domain calls included.

Timed is the first read of its state by a kernel that has not seen it, against the library
`eventsourcing` reading the same number of events from SQLite, without its cache.
"""

from __future__ import annotations

from contextlib import closing
from functools import partial
from statistics import median
from uuid import UUID

from scripts.bench.figure import Figure, a_second
from scripts.bench.places import folder, sqlite_store
from scripts.bench.rehydrating import time_rehydration
from scripts.bench.rivals.eventsourcing_bank import Bank, on_sqlite
from scripts.bench.streams import fill
from scripts.bench.timing import Load, Rates, Say, alternate, scaled

_ROUNDS = 4


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the events a second, and the ratio."""
    length = scaled(100_000, scale)
    with (
        folder() as place,
        closing(sqlite_store(place / "ours.db")) as store,
        closing(Bank(on_sqlite(place / "theirs.db", cached=False))) as bank,
    ):
        say(f"filling streams with {length:,} events")
        fill(store, "acc", length)
        their_id = bank.open_with(length)
        assert bank.balance(their_id) == 300 * length
        ours = Load(length, partial(time_rehydration, store, "acc", length))
        theirs = Load(length, partial(_read, bank, their_id))
        rates = alternate(_ROUNDS, ours, theirs, say)
    return [_rate(rates, length), rates.figure("SQLite, rehydrate against eventsourcing 9.5", 8)]


def _read(bank: Bank, account_id: UUID) -> None:
    bank.balance(account_id)


def _rate(rates: Rates, length: int) -> Figure:
    rate = median(rates.ours)
    slowest = length / min(rates.ours) * 1000
    shown = f"{a_second(rate)}; {length / rate * 1000:.0f} ms in all, slowest {slowest:.0f} ms"
    details = {"rates": rates.ours}
    name = f"SQLite, rehydrate a {length:,}-event stream"
    return Figure(name, rate, "/s", shown, at_least=200_000, details=details)
