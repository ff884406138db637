"""Rows into the events' table by the module `sqlite3` alone: one row, one durable commit."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from time import perf_counter
from typing import Any

from eskernel.codec import Codec
from scripts.bench.accounts import TYPE, Step
from scripts.bench.places import sqlite_store

_SETTINGS = ("journal_mode = WAL", "synchronous = FULL", "fullfsync = ON")
_INSERT = "INSERT INTO eskernel_events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_TYPES = {"deposit": "deposited", "withdraw": "withdrawn"}
_pack = Codec().pack


class RawRows:
    """A database file with the tables of a store, and one connection.

    Args:
        path: the file; made.
    """

    def __init__(self, path: Path) -> None:
        with closing(sqlite_store(path)):
            pass  # the tables are there
        self._connection = sqlite3.connect(path, isolation_level=None)
        for setting in _SETTINGS:
            self._connection.execute(f"PRAGMA {setting}")
        self._position = 0
        self._heads: dict[str, int] = {}

    def insert(self, todo: Sequence[Step]) -> float:
        """Commit a row for each step: its event, without asking the domain.

        Returns:
            The seconds it took, without making the rows.
        """
        rows = [self._row(step) for step in todo]
        execute = self._connection.execute
        start = perf_counter()
        for row in rows:
            execute(_INSERT, row)
        return perf_counter() - start

    def _row(self, step: Step) -> tuple[Any, ...]:
        name, kind, amount = step
        self._position += 1
        self._heads[name] = sequence = self._heads.get(name, 0) + 1
        payload = _pack({"type": _TYPES[kind], "amount": amount}, "payload")
        event = (_TYPES[kind], payload, b"", None, 0, None, self._position.to_bytes(16))
        return (self._position, TYPE, name, sequence, *event)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
