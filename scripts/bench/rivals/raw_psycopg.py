"""Rows into the events' table by psycopg alone: a batch, one INSERT from unnest, one commit."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from time import perf_counter
from typing import Any

import psycopg

from eskernel.codec import Codec
from eskernel_stores.sql import SqlStore
from scripts.bench.accounts import LIVE, TYPE, account

_INSERT = """
INSERT INTO eskernel_events
SELECT * FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::bigint[], %s::text[], %s::bytea[],
    %s::bytea[], %s::text[], %s::bigint[], %s::text[], %s::bytea[])
"""
_PAYLOAD = Codec().pack({"type": "deposited", "amount": 300}, "payload")

Columns = list[list[Any]]


class RawBatches:
    """A schema with the tables of a store, and one connection.

    Args:
        url: names an empty schema.
    """

    def __init__(self, url: str) -> None:
        with closing(SqlStore(url)):
            pass  # the tables are there
        self._connection = psycopg.connect(url, autocommit=True)
        self._position = 0

    def insert(self, count: int, size: int) -> float:
        """Commit `count` rows in batches of `size`.

        Returns:
            The seconds it took, without making the rows.
        """
        starts = range(0, count, size)
        batches = [self._columns(min(size, count - start)) for start in starts]
        start = perf_counter()
        for columns in batches:
            self._connection.execute(_INSERT, columns, prepare=True)
        return perf_counter() - start

    def _columns(self, size: int) -> Columns:
        """Return the columns of deposits to the accounts in turn."""
        positions = range(self._position + 1, self._position + size + 1)
        self._position += size
        return _transposed([_row(position) for position in positions])

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _row(position: int) -> tuple[Any, ...]:
    sequence, number = divmod(position, LIVE)
    name, append_id = account(number), position.to_bytes(16)
    events = ("deposited", _PAYLOAD, b"", None, 0, None, append_id)
    return (position, TYPE, name, sequence + 1, *events)


def _transposed(rows: Sequence[tuple[Any, ...]]) -> Columns:
    return [list(column) for column in zip(*rows, strict=True)]
