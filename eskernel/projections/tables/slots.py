"""Slots: a projection's tables, of this version and of others, as they stand in the database."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, Table

from eskernel.errors import CorruptStore, InvalidProjection
from eskernel.projections.read_model import BUILDING, PREVIOUS
from eskernel.projections.tables.copies import creatable_copies, name_of
from eskernel.projections.tables.ddl import (
    drop_table,
    has_schema,
    has_table,
    rename_table,
    views_on,
)
from eskernel.projections.tables.naming import EXCHANGED, TableName
from eskernel.values import SERVING

Names = tuple[TableName, ...]


class Slots:
    """What is done to tables as a whole; all of it in the caller's transaction.

    Which tables a slot has is the caller's to know, from its checkpoint: they may be those of
    another version of the module. A table that no checkpoint knows is somebody else's, and is
    never touched, unless its name has a rebuild's suffix.

    Args:
        projection: its name, for messages.
        declared: its tables.
    """

    def __init__(self, projection: str, declared: tuple[Table, ...]) -> None:
        self._what = f"projection {projection!r}"
        self._declared = declared
        self.names: Names = tuple(name_of(table) for table in declared)

    def check_free(self, connection: Connection, slot: str, serving: Names) -> None:
        """Raise unless the declared tables can be made in a slot, and can serve one day.

        Args:
            connection: in a transaction.
            slot: where they are to be made.
            serving: the tables that serve.

        Raises:
            InvalidProjection: somebody else's table is in the way, or a view on one of ours.
        """
        for schema in {name.schema for name in self.names if name.schema is not None}:
            if not has_schema(connection, schema):
                where = "SQLite has no schemas" if _is_sqlite(connection) else "make it first"
                raise InvalidProjection(f"{self._what}: there is no schema {schema}; {where}")
        for name in self.names:
            if name not in serving and has_table(connection, name):
                raise InvalidProjection(
                    f"{self._what}: there is a table {name} already that no checkpoint belongs "
                    "to; drop it if it is nobody's, or rename the projection's"
                )
        if slot != SERVING:
            self._check_views(connection, serving)

    def _check_views(self, connection: Connection, serving: Names) -> None:
        for name in serving:
            if views := views_on(connection, name):
                raise InvalidProjection(
                    f"{self._what}: the views {', '.join(views)} on table {name} would stay with "
                    "the old table when a new one takes its place; drop them, and create them "
                    "again when the rebuild is done"
                )

    def check_there(self, connection: Connection, slot: str, names: Names) -> None:
        """Raise CorruptStore if a table of a slot is gone."""
        for name in names:
            where = name.in_slot(slot)
            if not has_table(connection, where):
                raise CorruptStore(
                    f"{self._what}: table {where} is gone, but its checkpoint is there; bring the "
                    "table back from a backup of both, or delete the checkpoint to begin anew"
                )

    def create(self, connection: Connection, slot: str) -> None:
        """Create the declared tables in a slot, empty, in place of ours that are there."""
        self.drop(connection, slot, self.names)
        for table in creatable_copies(self._declared, slot):
            table.create(connection, checkfirst=False)

    def drop(self, connection: Connection, slot: str, names: Iterable[TableName]) -> None:
        """Drop what tables of a slot there are."""
        for name in names:
            drop_table(connection, name.in_slot(slot))

    def promote(
        self, connection: Connection, built: Names, serving: Names, previous: Names
    ) -> None:
        """Rename what serves to what served, and what was built to what serves.

        Args:
            connection: in a transaction.
            built: the tables of the rebuild.
            serving: the tables that serve so far.
            previous: those that served before, which are dropped.
        """
        self.check_there(connection, SERVING, serving)
        self.check_there(connection, BUILDING, built)
        self.check_free(connection, BUILDING, serving)
        self.drop(connection, PREVIOUS, {*previous, *serving})
        self._move(connection, serving, SERVING, PREVIOUS)
        self._move(connection, built, BUILDING, SERVING)

    def exchange(self, connection: Connection, serving: Names, previous: Names) -> None:
        """Rename what serves to what served, and the other way round."""
        self.check_there(connection, SERVING, serving)
        self.check_there(connection, PREVIOUS, previous)
        self._check_views(connection, serving)
        self._move(connection, serving, SERVING, EXCHANGED)
        self._move(connection, previous, PREVIOUS, SERVING)
        self._move(connection, serving, EXCHANGED, PREVIOUS)

    @staticmethod
    def _move(connection: Connection, names: Names, old: str, new: str) -> None:
        for name in names:
            rename_table(connection, name.in_slot(old), name.in_slot(new))


def _is_sqlite(connection: Connection) -> bool:
    return connection.dialect.name == "sqlite"
