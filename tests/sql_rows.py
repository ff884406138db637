"""Looking into the tables of an SqlStore."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eskernel_stores.sql import SqlStore


def rows(store: SqlStore, statement: str, parameters: Sequence[Any] = ()) -> list[Any]:
    """Run a statement on a reader's connection and return its rows as tuples."""
    with store._database.connect() as connection:
        result = connection.exec_driver_sql(statement, tuple(parameters))
        return [tuple(row) for row in result] if result.returns_rows else []
