"""16 and 64 callers on PostgreSQL against the library `eventsourcing` on the same server.

The library has its aggregate cache and a connection for each thread. 16 callers are measured
against its 16, and 64 against 16 or 64 of its callers, whichever suits it better. No two callers,
of ours or of theirs, share an account: its cached aggregates would conflict.

It can also insert by a function in the database, without the lock that keeps its log in order: a
reader may then miss events for good. eskernel's log promises that none is missed, so that figure
only informs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from statistics import median
from typing import NamedTuple

from eskernel_stores.sql import SqlStore
from scripts.bench.accounts import running
from scripts.bench.callers import APART, MANY, MORE, shares_apart, shares_load
from scripts.bench.figure import Figure
from scripts.bench.latencies import Latencies
from scripts.bench.places import postgresql
from scripts.bench.rivals.eventsourcing_bank import Bank, bank_load, on_postgresql, open_accounts
from scripts.bench.timing import Load, Rates, Say, rounds, scaled, take_turns

_COMMANDS = {MANY: 1_600, MORE: 3_200}
_THEIR_COMMANDS, _ROUNDS = 320, 7


class Who(NamedTuple):
    """Whose load it is, and with how many callers."""

    name: str
    callers: int


def measure(scale: float, say: Say) -> list[Figure]:
    """Return both ratios, and the one to the library without its lock."""
    latencies = {callers: Latencies() for callers in _COMMANDS}
    with _loads(scale, latencies) as loads:
        rates = take_turns(rounds(_ROUNDS, scale), loads, say)
    best = max(_COMMANDS, key=lambda callers: median(rates[Who("theirs", callers)]))

    def figure(callers: int, rival: Who, at_least: float | None = None) -> Figure:
        their_name = "eventsourcing 9.5" + ("" if at_least else " without its lock")
        pair = Rates(rates[Who("ours", callers)], rates[rival])
        found = pair.figure(f"PostgreSQL, {callers} callers, against {their_name}", at_least)
        shown = f"{found.shown} with {rival.callers}"
        return latencies[callers].beside(replace(found, shown=shown))

    return [
        figure(MANY, Who("theirs", MANY), at_least=8),
        figure(MORE, Who("theirs", best), at_least=12),
        figure(MORE, Who("without lock", MANY)),
    ]


@contextmanager
def _loads(scale: float, latencies: Mapping[int, Latencies]) -> Iterator[dict[Who, Load]]:
    with (
        postgresql() as server,
        closing(SqlStore(server.new_schema())) as store,
        closing(Bank(on_postgresql(server.port))) as bank,
        closing(Bank(on_postgresql(server.port, functions=True))) as other,
        running(APART, store) as kernel,
    ):
        loads: dict[Who, Load] = {}
        ids = open_accounts(bank, APART)
        for callers, count in _COMMANDS.items():
            shares = shares_apart(callers, scaled(count, scale, callers))
            loads[Who("ours", callers)] = shares_load(kernel, shares, latencies[callers])
            theirs = scaled(_THEIR_COMMANDS, scale, callers)
            loads[Who("theirs", callers)] = bank_load(bank, ids, callers, theirs)
        ids = open_accounts(other, APART)
        theirs = scaled(_THEIR_COMMANDS, scale, MANY)
        loads[Who("without lock", MANY)] = bank_load(other, ids, MANY, theirs)
        yield loads
