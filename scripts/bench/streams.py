"""Streams filled without a kernel, by large appends."""

from __future__ import annotations

from eskernel import Event
from eskernel.contracts import EventStore
from scripts.bench.accounts import TYPE

_AT_ONCE = 10_000


def fill(store: EventStore, aggregate_id: str, length: int) -> None:
    """Append so many deposits to an account that has none."""
    stream_id = (TYPE, aggregate_id)
    for start in range(0, length, _AT_ONCE):
        stop = min(start + _AT_ONCE, length)
        events = [
            Event(stream_id, number, "deposited", {"type": "deposited", "amount": 300})
            for number in range(start + 1, stop + 1)
        ]
        store.append(stream_id, events, expected_sequence=start)
