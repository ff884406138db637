"""Events as rows of the table, and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from eskernel.errors import CorruptStore
from eskernel.values import Event, Row, StreamId
from eskernel_stores.checking import check_event

A = TypeVar("A")
_new = tuple.__new__

Stored = tuple[Any, ...]
"""The columns of `tables.EVENTS`, but for the position, in order."""

Read = tuple[Any, ...]
"""The columns of `tables.EVENTS`, but for the append id, in order."""

_NO_TAGS: Final = ()
_SEQUENCE: Final = 3  # its place in what is read


def to_columns(row: Row, append_id: bytes) -> Stored:
    """Return a sealed event as columns, without its position.

    Raises:
        NotStorable: a text has NUL or a lone surrogate, or a number is too large.
    """
    check_event(row)
    (aggregate_type, aggregate_id), sequence, name, body, header, tags, time, by, _, _ = row
    listed = json.dumps(tags, ensure_ascii=False) if tags else None
    return (
        *(aggregate_type, aggregate_id, sequence, name, body, header),
        *(listed, time, by, append_id),
    )


def fold_rows(
    function: Callable[[A, Event], A],
    accumulator: A,
    rows: Sequence[Read],
    unpack: Callable[[bytes], Any],
) -> A:
    """Reduce rows read from the table, as `functools.reduce` would reduce their events.

    Raises:
        CorruptStore: the tags of a row are no JSON array; those before it have been handed over.
    """
    # This is where a reader of the whole log spends its time, so nothing is called for each row.
    for position, kind, name_of, sequence, name, body, header, tags, time, by in rows:
        stream_id = (kind, name_of)
        known = _NO_TAGS if tags is None else _read_tags(tags, stream_id, sequence)
        fields = (stream_id, sequence, name, body, header, known, time, by, position, unpack)
        accumulator = function(accumulator, _new(Event, fields))
    return accumulator


def check_holes(rows: Sequence[Read], first: int, stream_id: StreamId) -> None:
    """Raise CorruptStore unless the rows of a stream have all sequences from `first` on."""
    if rows[0][_SEQUENCE] == first and rows[-1][_SEQUENCE] == first + len(rows) - 1:
        return
    for sequence, row in enumerate(rows, first):
        if row[_SEQUENCE] != sequence:
            raise CorruptStore(
                f"event {sequence} of stream {stream_id} is missing from the database, "
                f"though event {row[_SEQUENCE]} is there; restore a backup",
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
