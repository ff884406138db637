"""What every durable store checks before it writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from eskernel.values import Event, Row, StreamId

_UNPACK = 9


def checked_rows(
    stream_id: StreamId,
    events: Sequence[Event],
    expected_sequence: int,
    pack: Callable[[Any, str], bytes],
    unpack: Callable[[bytes], Any],
) -> list[Row]:
    """Return sealed events that follow upon a sequence.

    Args:
        stream_id: the stream they belong to.
        events: sealed or open.
        expected_sequence: the sequence before the first.
        pack: from a value and its name to bytes, as `Codec.pack`.
        unpack: the way back, as `Codec.unpack`.

    Raises:
        ValueError: no events, sequences with holes, or an event of another stream.
        NotStorable: an open event holds something that cannot be stored.
    """
    if not events:
        raise ValueError("an append needs at least one event")
    rows: list[Row] = []
    for sequence, event in enumerate(events, expected_sequence + 1):
        row = event if event[_UNPACK] is not None else event.sealed(pack, unpack)
        if row[1] != sequence or row[0] != stream_id:
            raise ValueError(f"{event} is not event {sequence} of stream {stream_id}")
        rows.append(row)
    return rows
