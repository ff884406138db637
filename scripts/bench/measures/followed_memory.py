"""What three projections cost those who dispatch, in memory: with them against without, 1 and 16.

Each run lasts some seconds, so that the projections have to share the interpreter with the callers
for as long; see `scripts.bench.followed`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from eskernel.contracts import EventStore
from eskernel_stores import MemoryStore
from scripts.bench.accounts import LIVE, steps
from scripts.bench.callers import MANY
from scripts.bench.figure import Figure
from scripts.bench.followed import compare_followed
from scripts.bench.timing import Say, rounds, scaled

_COMMANDS, _ROUNDS = 160_000, 5


def measure(scale: float, say: Say) -> list[Figure]:
    """Return both ratios."""
    return [_compare(callers, scale, say) for callers in (1, MANY)]


def _compare(callers: int, scale: float, say: Say) -> Figure:
    each = scaled(_COMMANDS, scale, MANY) // callers
    shares = [steps(each, LIVE, number * LIVE // callers) for number in range(callers)]
    who = "1 caller" if callers == 1 else f"{callers} callers"
    name = f"MemoryStore, {who}, with 3 projections against none"
    return compare_followed(name, _store, LIVE, shares, rounds(_ROUNDS, scale), say)


@contextmanager
def _store() -> Iterator[EventStore]:
    yield MemoryStore()
