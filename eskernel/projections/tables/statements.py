"""The statements of `TableConnection`'s own writes: by primary key, alike in both databases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from sqlalchemy import Executable, Table, bindparam, delete, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect

_KEY: Final = "key_{}"


class Statement(NamedTuple):
    """A statement to plan.

    Attributes:
        executable: the statement.
        renamed: from its parameters to the names the caller gives them; None if they are the same.
        many: whether one statement may do it for many rows.
    """

    executable: Executable
    renamed: Mapping[str, str] | None = None
    many: bool = False


def upsert_of(table: Table, values: Mapping[str, Any], dialect: Dialect) -> Statement:
    """Return what inserts a row, or updates the other columns of the one with its key."""
    keys = _keys(table, values)
    others = [name for name in values if name not in keys]
    database: Any = sqlite if dialect.name == "sqlite" else postgresql
    insert = database.insert(table)
    columns = [table.c[key].name for key in keys]
    if others:
        new = {table.c[name].name: insert.excluded[name] for name in others}
        insert = insert.on_conflict_do_update(index_elements=columns, set_=new)
    else:
        insert = insert.on_conflict_do_nothing(index_elements=columns)
    return Statement(insert, many=database is sqlite)


def update_of(table: Table, values: Mapping[str, Any], _: Dialect) -> Statement:
    """Return what updates the other columns of the row with a key."""
    keys = _keys(table, values)
    others = {name: bindparam(name, type_=table.c[name].type) for name in values}
    for key in keys:
        del others[key]
    if not others:
        raise ValueError(f"an update of {table.name} needs a column beside its key {keys}")
    found = update(table).where(*_conditions(table, keys)).values(others)
    renamed = {name: name for name in others} | {_KEY.format(key): key for key in keys}
    return Statement(found, renamed)


def delete_of(table: Table, values: Mapping[str, Any], _: Dialect) -> Statement:
    """Return what deletes the row with a key."""
    keys = _keys(table, values)
    if len(values) > len(keys):
        raise ValueError(f"a deletion from {table.name} takes its key {keys}, not {[*values]}")
    found = delete(table).where(*_conditions(table, keys))
    return Statement(found, {_KEY.format(key): key for key in keys})


def _conditions(table: Table, keys: list[str]) -> list[Any]:
    return [table.c[key] == bindparam(_KEY.format(key), type_=table.c[key].type) for key in keys]


def _keys(table: Table, values: Mapping[str, Any]) -> list[str]:
    keys = [column.key for column in table.primary_key]
    if not keys:
        raise ValueError(f"table {table.name} has no primary key; write a statement of its own")
    if missing := [key for key in keys if key not in values]:
        raise ValueError(f"the values for {table.name} lack its primary key's {missing}")
    if unknown := [name for name in values if name not in table.c]:
        raise ValueError(f"table {table.name} has no column {unknown[0]!r}")
    return keys
