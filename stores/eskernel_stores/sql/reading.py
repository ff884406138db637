"""Reading: pages of a stream and of the log, each by one range scan.

A page is read whole before its events are handed out, so that no connection is held, and no
transaction open, while a caller's function runs.

Rows are the driver's own tuples: to wrap each in an object of SQLAlchemy's costs about as much as
SQLite takes to find it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from functools import lru_cache, partial
from typing import Any, Final

from sqlalchemy import Connection, Executable, Select, Text, bindparam, func, select
from sqlalchemy.exc import DBAPIError

from eskernel.values import StreamId
from eskernel_stores.sql.events import Read
from eskernel_stores.sql.tables import EVENTS

PAGE: Final = 2000
"""Events read at once."""

_COLUMNS: Final = EVENTS.c
_EVENT: Final = select(*(column for column in _COLUMNS if column.name != "append_id"))
_STREAM: Final = (
    _EVENT.where(
        _COLUMNS.aggregate_type == bindparam("aggregate_type"),
        _COLUMNS.aggregate_id == bindparam("aggregate_id"),
        _COLUMNS.sequence >= bindparam("start"),
        _COLUMNS.sequence < bindparam("stop"),
    )
    .order_by(_COLUMNS.sequence)
    .limit(PAGE)
)
_FOUND: Final = (
    _STREAM.with_only_columns(_COLUMNS.position)
    .where(_COLUMNS.append_id == bindparam("append_id"))
    .limit(None)  # an append may be longer than a page
)
_POSITION, _AGGREGATE_TYPE, _TYPE = 0, 1, 4  # their places in a row
_SAMPLE: Final = 64
"""Events of a page that are looked at here, to see how many of them are wanted."""
_IN_RANGE: Final = (_COLUMNS.position >= bindparam("start"), _COLUMNS.position < bindparam("stop"))
_LOG: Final = _EVENT.where(*_IN_RANGE).order_by(_COLUMNS.position).limit(bindparam("count"))
_LOOKED_AT: Final = _LOG.with_only_columns(_COLUMNS.position).subquery()
_REACHED: Final = select(func.count(), func.max(_LOOKED_AT.c.position)).select_from(_LOOKED_AT)
_LAST_IN_TABLE: Final = select(func.max(_COLUMNS.position))

Rows = Sequence[Read]
_Look = Callable[[Connection, int, int, int], tuple[Rows, int, int]]


def stream_page(connection: Connection, stream_id: StreamId, start: int, stop: int) -> Rows:
    """Return the first events of a stream in `[start, stop)`, at most `PAGE`."""
    return _rows(connection, _STREAM, _parameters(stream_id, start, stop))


def positions_under(
    connection: Connection, stream_id: StreamId, start: int, stop: int, append_id: bytes
) -> list[int]:
    """Return the positions of a stream's rows in `[start, stop)` with this append id, in order."""
    parameters = {**_parameters(stream_id, start, stop), "append_id": append_id}
    return [*connection.execute(_FOUND, parameters).scalars()]


def log_page(
    connection: Connection,
    start: int,
    stop: int,
    count: int,
    types: Collection[str] | None,
    aggregate_types: Collection[str] | None,
) -> tuple[Rows, int, int]:
    """Look at the first events of the log in `[start, stop)`, at most `count`.

    Returns:
        Those of the types asked for, how many were looked at, and the position of the last.
    """
    if types is None and aggregate_types is None:
        return _whole(connection, start, stop, count)
    sample, looked_at, reached = _whole(connection, start, stop, min(count, _SAMPLE))
    wanted = _filtered(sample, types, aggregate_types)
    if looked_at < _SAMPLE or looked_at == count:
        return wanted, looked_at, reached
    # Where most events are wanted, passing over the others here costs less than looking at the page
    # twice; where few are, the database passes over them at once.
    read: _Look = (
        _whole if len(wanted) * 2 > looked_at else partial(_look_for, types, aggregate_types)
    )
    rest, more, last = read(connection, reached + 1, stop, count - looked_at)
    found = [*wanted, *_filtered(rest, types, aggregate_types)]
    return found, looked_at + more, last if more else reached


def _whole(connection: Connection, start: int, stop: int, count: int) -> tuple[Rows, int, int]:
    """Look at the log as `log_page`, and return every event."""
    rows = _rows(connection, _LOG, {"start": start, "stop": stop, "count": count})
    return rows, len(rows), rows[-1][_POSITION] if rows else 0


def _filtered(
    rows: Rows, types: Collection[str] | None, aggregate_types: Collection[str] | None
) -> Rows:
    """Return those of the types asked for."""
    if types is not None:
        rows = [row for row in rows if row[_TYPE] in types]
    if aggregate_types is not None:
        rows = [row for row in rows if row[_AGGREGATE_TYPE] in aggregate_types]
    return rows


def _look_for(
    types: Collection[str] | None,
    aggregate_types: Collection[str] | None,
    connection: Connection,
    start: int,
    stop: int,
    count: int,
) -> tuple[Rows, int, int]:
    """Look at the log as `log_page`, and have the database return only what is wanted."""
    bounds = {"start": start, "stop": stop, "count": count}
    ((looked_at, reached),) = _rows(connection, _REACHED, bounds)
    if not looked_at:
        return (), 0, 0
    names = {
        **_numbered("type", types),
        **_numbered("aggregate_type", aggregate_types),
    }
    statement = _of_types(_length(types), _length(aggregate_types))
    rows = _rows(connection, statement, {**bounds, **names, "stop": reached + 1})
    return rows, looked_at, reached


def last_position(connection: Connection) -> int:
    """Return the position of the newest event; 0 for none."""
    ((position,),) = _rows(connection, _LAST_IN_TABLE, {})
    return position or 0


@lru_cache(maxsize=64)
def _of_types(types: int | None, aggregate_types: int | None) -> Select[Any]:
    """Return the statement that reads the log for so many names of each kind; None for all."""
    wanted = _LOG
    if types is not None:
        wanted = wanted.where(_COLUMNS.type.in_(_bound("type", types)))
    if aggregate_types is not None:
        # Concatenated, the name cannot tempt a planner away from the positions: one that believes
        # a type to be rare would read all there is of it from the streams' index, and sort.
        name = _COLUMNS.aggregate_type + ""
        wanted = wanted.where(name.in_(_bound("aggregate_type", aggregate_types)))
    return wanted


def _bound(name: str, number: int) -> list[Any]:
    return [bindparam(f"wanted_{name}_{index}", type_=Text) for index in range(number)]


def _numbered(name: str, values: Collection[str] | None) -> dict[str, str]:
    return {f"wanted_{name}_{index}": value for index, value in enumerate(values or ())}


def _length(values: Collection[str] | None) -> int | None:
    return None if values is None else len(values)


def _rows(connection: Connection, statement: Executable, parameters: dict[str, Any]) -> Rows:
    """Return all rows; raises DBAPIError, as SQLAlchemy does, while the driver fetches them too."""
    driver: Any = connection.dialect.loaded_dbapi
    with closing(connection.execute(statement, parameters)) as result:
        try:
            return result.cursor.fetchall()
        except driver.Error as error:
            raise DBAPIError.instance(None, None, error, driver.Error) from error


def _parameters(stream_id: StreamId, start: int, stop: int) -> dict[str, Any]:
    aggregate_type, aggregate_id = stream_id
    return {
        "aggregate_type": aggregate_type,
        "aggregate_id": aggregate_id,
        "start": start,
        "stop": stop,
    }
