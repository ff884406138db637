"""Outcomes: `Accepted` as plain values, and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eskernel.values import Accepted, StreamId

_new = tuple.__new__


def accepted_to_fields(accepted: Accepted) -> tuple[tuple[str, str], list[Any]]:
    """Return the stream, and the outcome of a command on it without what follows from that.

    The second is `[sequence, position, rows]`, each row `[type, body, header, tags, timestamp,
    command_id]`; body and header are bytes already.
    """
    stream_id, sequence, position, stored = accepted
    return stream_id, [
        sequence,
        position,
        [
            [name, body, header, tags, time, by]
            for _, _, name, body, header, tags, time, by, *_ in stored
        ],
    ]


def fields_to_accepted(
    stream_id: StreamId, fields: list[Any], unpack: Callable[[bytes], Any]
) -> Accepted:
    """Return the outcome.

    Args:
        stream_id: the aggregate.
        fields: as `accepted_to_fields` returns them.
        unpack: what decodes the payloads of its type.
    """
    sequence, position, rows = fields
    before = sequence - len(rows)
    stored = tuple(
        [
            (stream_id, before + number, name, body, header, tuple(tags), time, by, None, unpack)
            for number, (name, body, header, tags, time, by) in enumerate(rows, 1)
        ]
    )
    return _new(Accepted, (stream_id, sequence, position, stored))
