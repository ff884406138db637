"""Two processes appending to one PostgreSQL against one that does so alone; for information.

Each runs a kernel with 32 callers on accounts of its own, see `scripts.bench.appender`; two carry
out twice as many commands as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from functools import partial

from eskernel_stores.sql import SqlStore
from scripts.bench.appender import CALLERS, Appender
from scripts.bench.figure import Figure
from scripts.bench.places import postgresql
from scripts.bench.timing import Load, Say, alternate, rounds, scaled

_COMMANDS, _ROUNDS = 3_200, 9


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the ratio."""
    count = scaled(_COMMANDS, scale, CALLERS) // CALLERS * CALLERS
    with postgresql() as server:
        url = server.new_schema()
        with closing(SqlStore(url)):
            pass  # the tables are there
        with (
            closing(Appender(url, 0, count)) as one,
            closing(Appender(url, 1, count)) as other,
        ):
            for each in (one, other):
                each.wait()
            both = Load(2 * count, partial(_run, (one, other)))
            alone = Load(count, partial(_run, (one,)))
            rates = alternate(rounds(_ROUNDS, scale), both, alone, say)
    return [rates.figure(f"PostgreSQL, 2 processes of {CALLERS} callers against 1 of them")]


def _run(appenders: Sequence[Appender]) -> None:
    for each in appenders:
        each.begin()
    for each in appenders:
        each.wait()
