"""Events as rows of the table, and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import Row as TableRow

from eskernel.errors import CorruptStore, NotStorable
from eskernel.values import Event, Row, StreamId
from eskernel_stores.checking import check_text

_new = tuple.__new__

Stored = tuple[Any, ...]
"""The columns of `tables.EVENTS`, but for the position, in order."""

LAST: Final = 2**63 - 1
"""The largest number the database knows."""

_NO_TAGS: Final = ()


def to_columns(row: Row, append_id: bytes) -> Stored:
    """Return a sealed event as columns, without its position.

    Raises:
        NotStorable: a text has NUL or a lone surrogate, or a number is too large.
    """
    (aggregate_type, aggregate_id), sequence, name, body, header, tags, time, by, _, _ = row
    listed = _listed(tags) if tags else None
    check_text("type", name)
    if by is not None:
        check_text("command_id", by)
    if not isinstance(time, int) or abs(time) > LAST:
        raise NotStorable("timestamp", f"{time!r} is no whole number of 64 bits")
    if not 0 < sequence <= LAST:
        raise NotStorable("sequence", f"{sequence} is not within 1 to {LAST}")
    return (
        *(aggregate_type, aggregate_id, sequence, name, body, header),
        *(listed, time, by, append_id),
    )


def _listed(tags: Sequence[str]) -> str:
    for tag in tags:
        check_text("tags", tag)
    return json.dumps(tags, ensure_ascii=False)


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
        tags = json.loads(text)
        if not isinstance(tags, list):
            raise TypeError(f"{tags!r} is no array")
        return tuple(tags)
    except (TypeError, ValueError) as error:
        raise CorruptStore(
            f"the tags of event {sequence} of stream {stream_id} cannot be read: {error}",
            stream_id,
            sequence,
        ) from error
