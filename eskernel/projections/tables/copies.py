"""Copies of declared tables, one for each slot."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from typing import Any, Final

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, MetaData, Table

from eskernel.projections.tables.naming import TableName, fitting

_TOKEN: Final = 4  # bytes


class Tables:
    """The tables of one slot: `tables["orders"]`, or `tables.orders`, by their declared names.

    Args:
        tables: from declared name to the table that stands for it.
    """

    def __init__(self, tables: dict[str, Table]) -> None:
        self.__dict__.update(tables)  # where they are found faster than by `__getattr__`
        self._tables = tables

    def __getitem__(self, name: str) -> Table:
        try:
            return self._tables[name]
        except KeyError:
            known = ", ".join(self._tables)
            raise KeyError(f"no table {name!r} is declared, only {known}") from None

    def __getattr__(self, name: str) -> Table:
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(error.args[0]) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)


def name_of(table: Table) -> TableName:
    """Return a table's name as declared."""
    return TableName(None if table.schema is None else str(table.schema), str(table.name))


def copies_of(declared: Iterable[Table], slot: str) -> Tables:
    """Return what a slot's statements name: a copy of each table, in the serving slot as well."""
    return Tables({str(table.name): _copy(table, slot) for table in declared})


def creatable_copies(declared: Iterable[Table], slot: str) -> list[Table]:
    """Return copies to create, whose indexes and unique constraints have names of their own.

    Those are unique in a schema, on SQLite in the file, and stay when their table is renamed. So
    each time they get another suffix, by chance. Names that the database gives are distinct anyway.
    """
    token = f"__{secrets.token_hex(_TOKEN)}"
    copies = []
    for table in declared:
        copy = _copy(table, slot)
        items: list[Any] = [*copy.indexes, *copy.constraints]
        for item in items:
            # The names of others are unique in their table only.
            if isinstance(item, (CheckConstraint, ForeignKeyConstraint)) or not _is_named(item):
                continue
            as_declared = str(item.name).replace(str(copy.name), str(table.name))
            item.name = fitting(as_declared, token)
        copies.append(copy)
    return copies


def _copy(table: Table, slot: str) -> Table:
    name = name_of(table).in_slot(slot).name
    metadata = MetaData(naming_convention=table.metadata.naming_convention)
    return table.to_metadata(metadata, name=name)


def _is_named(item: Any) -> bool:
    return isinstance(item.name, str)
