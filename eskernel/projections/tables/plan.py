"""Plan: a statement compiled once, to be sent with many rows of parameters.

SQLAlchemy binds parameters row by row, at several times the cost of the statement itself in
SQLite. What it does there is done here once, where nothing forbids it: names become places, and
columns whose types need no conversion are taken as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import BindParameter, Connection, Executable
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.compiler import SQLCompiler

Parameters = Mapping[str, Any]
Bind = Callable[[Parameters], Any]

_AT_ONCE: Final = (256, 32)
"""Rows that one statement of SQLite inserts; each statement costs as much as several rows."""
_SAFE_VARIABLES: Final = 32_000  # SQLite allows 32,766


class Plan:
    """How to send a statement.

    Attributes:
        subject: what it was made for: a statement, or a table.
        kind: which of the subject's plans it is.
        upserts: the table, if that is what it does.
        width: how many parameters it takes; those of other numbers or names need another plan.
        bind: from parameters to a row; raises KeyError for one that is missing, and what a
            column's type raises for a value that does not fit.

    Args:
        subject, kind: as above.
        statement: to send.
        parameters: the first, whose names all others have.
        dialect: of the connection.
        renamed: from a parameter's name in the statement to its name in `parameters`.
    """

    __slots__ = ("_many", "_sql", "_statement", "bind", "kind", "subject", "upserts", "width")

    def __init__(
        self,
        subject: Any,
        kind: Any,
        statement: Executable,
        parameters: Parameters,
        dialect: Dialect,
        renamed: Mapping[str, str] | None = None,
    ) -> None:
        self.subject = subject
        self.kind = kind
        self.upserts: Any = None
        self.width = len(parameters)
        self._statement = statement
        self._sql: str | None = None
        self._many: tuple[tuple[int, str], ...] = ()
        compiled: Any = statement.compile(  # type: ignore[attr-defined]
            dialect=dialect,
            column_keys=None if renamed else list(parameters),
            for_executemany=True,
        )
        if _is_plain(compiled):
            self.bind = _binding(compiled, parameters, dialect, renamed or {})
            self._sql = compiled.string
        else:
            keys = {key: key for key in parameters} if not renamed else dict(renamed)
            self.bind = lambda given: {name: given[key] for name, key in keys.items()}

    def insert_many(self) -> None:
        """Have SQLite insert many rows by a statement; PostgreSQL refuses some of those."""
        one = f"({', '.join('?' * self.width)})"
        if self._sql is None or self._sql.count(f"VALUES {one}") != 1:
            return
        self._many = tuple(
            (count, self._sql.replace(f"VALUES {one}", f"VALUES {', '.join([one] * count)}"))
            for count in _AT_ONCE
            if count * self.width <= _SAFE_VARIABLES
        )

    def send(self, connection: Connection, rows: Sequence[Any]) -> None:
        """Execute the statement with each row that `bind` returned, in order.

        Raises:
            SQLAlchemyError: the database refuses.
        """
        if self._sql is None:
            for row in rows:  # lists of different lengths are different statements
                connection.execute(self._statement, row)
            return
        start = 0
        for count, many in self._many:
            while len(rows) - start >= count:
                flat = tuple(chain.from_iterable(rows[start : start + count]))
                connection.exec_driver_sql(many, flat)
                start += count
        if start < len(rows):
            rest = rows[start:] if start else rows
            connection.exec_driver_sql(self._sql, [*rest])


def _is_plain(compiled: Any) -> bool:
    """Return whether a statement is sent as it was compiled, whatever the parameters."""
    return isinstance(compiled, SQLCompiler) and not (
        compiled.insert_prefetch  # defaults that Python computes
        or compiled.update_prefetch
        or compiled.post_compile_params  # lists, as of IN
        or compiled.literal_execute_params
        or any(bound.callable for bound in compiled.binds.values())
    )


def _binding(
    compiled: SQLCompiler, parameters: Parameters, dialect: Dialect, renamed: Mapping[str, str]
) -> Bind:
    """Return a function from parameters to what the driver wants."""
    bound = {name: parameter for parameter, name in compiled.bind_names.items()}
    names = compiled.positiontup if dialect.positional else list(bound)
    assert names is not None, "the statement's parameters are in order"
    keys = [renamed.get(name, name) for name in names]
    # Raises InvalidRequestError if one is missing.
    full = compiled.construct_params(
        {n: parameters[k] for n, k in zip(names, keys, strict=True) if k in parameters}
    )
    fixed = {k: full[n] for n, k in zip(names, keys, strict=True) if k not in parameters}
    convert = [_converter(bound[name], dialect) for name in names]
    row = _converted(_picked(keys, fixed), convert)
    if dialect.positional:
        return row
    escaped = [compiled.escaped_bind_names.get(name, name) for name in names]
    return lambda given: dict(zip(escaped, row(given), strict=True))


def _converter(parameter: BindParameter[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    convert: Callable[[Any], Any] | None
    convert = parameter.type.dialect_impl(dialect).bind_processor(dialect)
    return convert


def _picked(keys: Sequence[str], fixed: Parameters) -> Bind:
    if fixed:
        return lambda given: tuple([given[k] if k in given else fixed[k] for k in keys])
    if len(keys) > 1:
        return itemgetter(*keys)
    return lambda given: tuple([given[key] for key in keys])


def _converted(row: Bind, converters: Sequence[Callable[[Any], Any] | None]) -> Bind:
    needed = [(index, one) for index, one in enumerate(converters) if one is not None]
    if not needed:
        return row

    def convert(given: Parameters) -> Any:
        values = list(row(given))
        for index, one in needed:
            values[index] = one(values[index])
        return tuple(values)

    return convert
