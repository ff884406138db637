"""A round of appends on its way into SQLite, on a connection that nobody else writes on.

SQLite lets one transaction write at a time, and this one begins as a writer. So no lease changes
hands between the look at its epoch and the commit.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any, Final

from sqlalchemy import insert
from sqlalchemy.dialects.sqlite import dialect

from eskernel.errors import StoreUnavailable
from eskernel_stores.batching import Round, Written
from eskernel_stores.sql import sqlite_failures as failures
from eskernel_stores.sql.tables import EVENTS

# One statement for the whole round: each step of a statement gives the interpreter lock away, and
# to have it back a busy process waits.
_HEADS: Final = (
    "SELECT coalesce((SELECT max(position) FROM eskernel_events), 0), "
    "json_group_object(stream.key, coalesce(("
    "SELECT event.sequence FROM eskernel_events AS event "
    "WHERE event.aggregate_type = json_extract(stream.value, '$[0]') "
    "AND event.aggregate_id = json_extract(stream.value, '$[1]') "
    "ORDER BY event.sequence DESC LIMIT 1), 0)) FROM json_each(?) AS stream"
)
_EPOCHS: Final = (
    "SELECT json_group_object(fence.key, coalesce((SELECT lease.epoch "
    "FROM eskernel_leases AS lease WHERE lease.name = fence.value), 0)) FROM json_each(?) AS fence"
)
_INSERT: Final = str(insert(EVENTS).compile(dialect=dialect(paramstyle="qmark")))
# An append of one event is one statement, which begins and commits by itself.
_ALONE: Final = (
    "INSERT INTO eskernel_events SELECT "
    "coalesce((SELECT max(position) FROM eskernel_events), 0) + 1, "
    "?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10 "
    "WHERE coalesce((SELECT sequence FROM eskernel_events "
    "WHERE aggregate_type = ?1 AND aggregate_id = ?2 ORDER BY sequence DESC LIMIT 1), 0) = ?3 - 1"
)
_HOLDS: Final = "coalesce((SELECT epoch FROM eskernel_leases WHERE name = ?11), 0) = ?12"
_ALONE_FENCED: Final = " AND ".join((_ALONE, _HOLDS))


def write(cursor: sqlite3.Cursor, round: Round) -> Written:
    """Store a round in one transaction, durably.

    Raises:
        sqlite3.Error: it failed, and nothing was stored.
        StoreUnavailable: it may be stored; `outcome_unknown` is True.
    """
    if len(round.events) == len(round.streams) == 1 and len(round.fences) <= 1:
        position = _write_alone(cursor, round)
        if position is not None:
            return round.written(position - 1, round.expected)
    cursor.execute("BEGIN IMMEDIATE")
    position, found = cursor.execute(_HEADS, (json.dumps(round.streams),)).fetchone()
    heads = _in_order(found)
    stale = _stale(cursor, round)
    admitted = [round.admits(index, heads, stale) for index in range(len(round.streams))]
    accepted = [columns for index, columns in round.events if admitted[index]]
    cursor.executemany(
        _INSERT, [(at, *columns) for at, columns in enumerate(accepted, position + 1)]
    )
    _commit(cursor, "COMMIT")
    return round.written(position, heads, stale)


def _write_alone(cursor: sqlite3.Cursor, round: Round) -> int | None:
    """Return the position of a round's only event; None if it does not fit."""
    ((_, columns),) = round.events
    if round.fences:
        ((name, epoch),) = round.fences.items()
        _commit(cursor, _ALONE_FENCED, (*columns, name, epoch))
    else:
        _commit(cursor, _ALONE, columns)
    return cursor.lastrowid if cursor.rowcount == 1 else None


def _stale(cursor: sqlite3.Cursor, round: Round) -> dict[str, int]:
    """Return the newest epoch of each name that is not at the round's."""
    if not round.fences:
        return {}
    (found,) = cursor.execute(_EPOCHS, (json.dumps([*round.fences]),)).fetchone()
    return round.stale(_in_order(found))


def _in_order(found: str) -> list[int]:
    """Return the values of a JSON object whose keys are numbers from 0 on."""
    by_index = json.loads(found)
    return [by_index[str(index)] for index in range(len(by_index))]


def _commit(cursor: sqlite3.Cursor, statement: str, columns: tuple[Any, ...] = ()) -> None:
    """Run a statement that commits; what it stored is unknown after most failures."""
    try:
        cursor.execute(statement, columns)
    except sqlite3.Error as error:
        if failures.leaves_nothing(error):
            raise
        raise StoreUnavailable.because(error, outcome_unknown=True) from error
