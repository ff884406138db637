"""Streams filled without a kernel, by large appends or small ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from eskernel import Event
from eskernel.contracts import BatchingEventStore, Commit, EventStore
from scripts.bench.accounts import TYPE

AMOUNT = 300
"""Of every deposit."""
_AT_ONCE = 10_000
"""Events in an append, unless told otherwise."""
_TOGETHER = 1_000
"""Events in a batch, unless one append has more."""


class Batching(EventStore, BatchingEventStore, Protocol):
    """A store that takes batches."""


def fill(store: Batching, aggregate_id: str, length: int, at_once: int = _AT_ONCE) -> None:
    """Append so many deposits to an account that has none.

    Args:
        store: the store.
        aggregate_id: the account.
        length: how many.
        at_once: how many one append has; small ones share batches.
    """
    appends = [
        _deposits(aggregate_id, start, min(start + at_once, length))
        for start in range(0, length, at_once)
    ]
    together = max(_TOGETHER // at_once, 1)
    for first in range(0, len(appends), together):
        append_all(store, appends[first : first + together])


def append_all(store: Batching, commits: Sequence[Commit]) -> None:
    """Store a batch; raises the first error of its commits."""
    for outcome in store.append_batch(commits):
        if isinstance(outcome, Exception):
            raise outcome


def deposit(aggregate_id: str, sequence: int) -> Event:
    """Return a deposit to an account."""
    payload = {"type": "deposited", "amount": AMOUNT}
    return Event((TYPE, aggregate_id), sequence, "deposited", payload)


def _deposits(aggregate_id: str, start: int, stop: int) -> Commit:
    events = [deposit(aggregate_id, sequence) for sequence in range(start + 1, stop + 1)]
    return Commit((TYPE, aggregate_id), events, start)
