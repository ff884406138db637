"""A round of appends as the arguments of the functions in PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from eskernel_stores.batching import Round


def packed(round: Round) -> tuple[str, str, bytes]:
    """Return the arguments of `eskernel_append`: what is not bytes as JSON, all bytes in one row.

    psycopg takes ten times as long to write an array for each column.
    """
    streams: list[dict[str, Any]] = [
        {"aggregate_type": aggregate_type, "aggregate_id": aggregate_id, "expected": expected}
        for (aggregate_type, aggregate_id), expected in zip(
            round.streams, round.expected, strict=True
        )
    ]
    if round.fences:
        _guard(streams, round)
    rows = []
    parts: list[bytes] = []
    start = 1
    for index, columns in round.events:
        _, _, sequence, name, payload, metadata, tags, timestamp, command_id, append_id = columns
        rows.append(
            {
                "stream": index + 1,
                "sequence": sequence,
                "type": name,
                "tags": tags,
                "timestamp": timestamp,
                "command_id": command_id,
                "start": start,
                "payload": len(payload),
                "metadata": len(metadata),
            }
        )
        parts += (payload, metadata, append_id)
        start += len(payload) + len(metadata) + len(append_id)
    return json.dumps(streams), json.dumps(rows), b"".join(parts)


def packed_fences(round: Round) -> str:
    """Return the first argument of `eskernel_append_fenced`; `packed` returns the others."""
    return json.dumps([{"name": name, "epoch": epoch} for name, epoch in round.fences.items()])


def _guard(streams: Iterable[dict[str, Any]], round: Round) -> None:
    """Have each stream say the number, from 1 on, of the fence it depends on, and its epoch."""
    numbers = {name: number for number, name in enumerate(round.fences, 1)}
    for stream, guard in zip(streams, round.guards, strict=True):
        if guard is not None:
            stream.update(fence=numbers[guard], epoch=round.fences[guard])
