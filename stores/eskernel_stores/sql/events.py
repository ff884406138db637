"""Events as rows of the table, and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import Row as TableRow

from eskernel.errors import CorruptStore
from eskernel.values import Event, Row, StreamId

_new = tuple.__new__

Stored = tuple[Any, ...]
"""The columns of `tables.EVENTS`, but for the position, in order."""

_NO_TAGS: Final = ()


def to_columns(row: Row, append_id: bytes) -> Stored:
    """Return a sealed event as columns, without its position."""
    (aggregate_type, aggregate_id), sequence, name, body, header, tags, time, by, _, _ = row
    listed = json.dumps(tags, ensure_ascii=False) if tags else None
    return (
        *(aggregate_type, aggregate_id, sequence, name, body, header),
        *(listed, time, by, append_id),
    )


def to_event(row: Any, unpack: Callable[[bytes], Any]) -> Event:
    """Return the event of a row read from the table.

    Raises:
        CorruptStore: its tags are no JSON array.
    """
    position, aggregate_type, aggregate_id, sequence, name, body, header, tags, time, by = row
    stream_id = (aggregate_type, aggregate_id)
    known = _NO_TAGS if tags is None else _read_tags(tags, stream_id, sequence)
    return _new(Event, (stream_id, sequence, name, body, header, known, time, by, position, unpack))


def check_holes(rows: Sequence[TableRow[Any]], first: int, stream_id: StreamId) -> None:
    """Raise CorruptStore unless the rows of a stream have all sequences from `first` on."""
    if rows[0].sequence == first and rows[-1].sequence == first + len(rows) - 1:
        return
    for sequence, row in enumerate(rows, first):
        if row.sequence != sequence:
            raise CorruptStore(
                f"event {sequence} of stream {stream_id} is missing from the database, "
                f"though event {row.sequence} is there; restore a backup",
                stream_id,
                sequence,
            )


def _read_tags(text: str, stream_id: StreamId, sequence: int) -> tuple[str, ...]:
    try:
        return tuple(json.loads(text))
    except (TypeError, ValueError) as error:
        raise CorruptStore(
            f"the tags of event {sequence} of stream {stream_id} cannot be read: {error}",
            stream_id,
            sequence,
        ) from error
