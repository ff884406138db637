"""Creating, renaming and dropping tables, as part of a transaction under way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, MetaData, Table, inspect, text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import DropTable, ExecutableDDLElement

from eskernel.projections.tables.naming import TableName

_VIEWS = text(
    "SELECT DISTINCT view.oid::regclass::text FROM pg_depend AS dependence "
    "JOIN pg_rewrite AS rule ON rule.oid = dependence.objid "
    "JOIN pg_class AS view ON view.oid = rule.ev_class "
    "WHERE dependence.classid = 'pg_rewrite'::regclass "
    "AND dependence.refclassid = 'pg_class'::regclass "
    "AND dependence.refobjid = to_regclass(:name)"
)


class _RenameTable(ExecutableDDLElement):
    """ALTER TABLE ... RENAME TO ..., which keeps the schema."""

    inherit_cache = False

    def __init__(self, table: Table, name: str) -> None:
        self.table = table
        self.name = name


@compiles(_RenameTable)
def _compile_rename(element: _RenameTable, compiler: Any, **_: Any) -> str:
    names = compiler.preparer
    return f"ALTER TABLE {names.format_table(element.table)} RENAME TO {names.quote(element.name)}"


def has_table(connection: Connection, name: TableName) -> bool:
    """Return whether there is a table, or view, of that name where it would be created."""
    inspector = inspect(connection)
    # Without a schema PostgreSQL would look into those of others, too.
    return inspector.has_table(name.name, schema=name.schema or inspector.default_schema_name)


def has_schema(connection: Connection, schema: str) -> bool:
    """Return whether there is a schema; SQLite has none."""
    return connection.dialect.name != "sqlite" and inspect(connection).has_schema(schema)


def drop_table(connection: Connection, name: TableName) -> None:
    """Drop a table, with its indexes, if it is there."""
    if has_table(connection, name):
        connection.execute(DropTable(_named(name)))


def rename_table(connection: Connection, old: TableName, new: TableName) -> None:
    """Give a table another name in its schema."""
    with _nothing_following(connection):
        connection.execute(_RenameTable(_named(old), new.name))


@contextmanager
def _nothing_following(connection: Connection) -> Iterator[None]:
    """Have SQLite's views and triggers go on with the name, whatever table has it."""
    if connection.dialect.name != "sqlite":
        yield
        return
    before = connection.exec_driver_sql("PRAGMA legacy_alter_table").scalar_one()
    connection.exec_driver_sql("PRAGMA legacy_alter_table = ON")
    try:
        yield
    finally:
        if not before:
            connection.exec_driver_sql("PRAGMA legacy_alter_table = OFF")


def views_on(connection: Connection, name: TableName) -> list[str]:
    """Return the views that would go with a table when it is renamed; SQLite has none such."""
    if connection.dialect.name != "postgresql":
        return []
    quoted = connection.dialect.identifier_preparer.format_table(_named(name))
    return sorted(connection.execute(_VIEWS, {"name": quoted}).scalars())


def _named(name: TableName) -> Table:
    return Table(name.name, MetaData(), schema=name.schema)
