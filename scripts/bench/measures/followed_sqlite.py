"""What three projections cost those who dispatch, on SQLite with 64 callers: with against without.

See `scripts.bench.followed`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from eskernel.contracts import EventStore
from scripts.bench.callers import APART, MORE, shares_apart
from scripts.bench.figure import Figure
from scripts.bench.followed import compare_followed
from scripts.bench.places import folder, sqlite_store
from scripts.bench.timing import Say, rounds, scaled

_COMMANDS, _ROUNDS = 24_000, 3


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the ratio."""
    shares = shares_apart(MORE, scaled(_COMMANDS, scale, MORE))
    name = f"SQLite, {MORE} callers, with 3 projections against none"
    return [compare_followed(name, _store, APART, shares, rounds(_ROUNDS, scale), say)]


@contextmanager
def _store() -> Iterator[EventStore]:
    with folder() as place, closing(sqlite_store(place / "ours.db")) as store:
        yield store
