"""64 callers on SQLite against the library `eventsourcing` on SQLite, with its aggregate cache.

The library gets the number of callers that suits it best, of 1, 4 and 16. Its threads must not
share an account, for its cached aggregates would conflict; ours do not share one either. Both
leave SQLite at synchronous=FULL and use its write-ahead log.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from functools import partial
from statistics import median

from scripts.bench.accounts import running
from scripts.bench.callers import APART, MORE, shares_apart, shares_load
from scripts.bench.cores import here_and_on_one_core
from scripts.bench.figure import Figure
from scripts.bench.latencies import Latencies
from scripts.bench.places import folder, sqlite_store
from scripts.bench.rivals.eventsourcing_bank import Bank, bank_load, on_sqlite, open_accounts
from scripts.bench.timing import Rates, Say, rounds, scaled, take_turns

_COMMANDS, _ROUNDS = 4_800, 11
_THEIR_CALLERS, _THEIR_COMMANDS = (1, 4, 16), 400


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the ratio, and the one on a single core."""
    return here_and_on_one_core(partial(_compare, scale, say))


def _compare(scale: float, say: Say) -> Figure:
    latencies = Latencies()
    with (
        folder() as place,
        closing(sqlite_store(place / "ours.db")) as store,
        closing(Bank(on_sqlite(place / "theirs.db"))) as bank,
        running(APART, store) as kernel,
    ):
        ids = open_accounts(bank, APART)
        loads = {
            callers: bank_load(bank, ids, callers, scaled(_THEIR_COMMANDS, scale, callers))
            for callers in _THEIR_CALLERS
        }
        loads[MORE] = shares_load(
            kernel, shares_apart(MORE, scaled(_COMMANDS, scale, MORE)), latencies
        )
        rates = take_turns(rounds(_ROUNDS, scale), loads, say)
    theirs = {callers: median(rates[callers]) for callers in _THEIR_CALLERS}
    best = max(theirs, key=lambda callers: theirs[callers])
    name = f"SQLite, {MORE} callers, against eventsourcing 9.5"
    figure = Rates(rates[MORE], rates[best]).figure(name, at_least=6)
    shown = f"{figure.shown} with {best}"
    details = {**figure.details, "theirs_by_callers": theirs}
    return latencies.beside(replace(figure, shown=shown, details=details))
