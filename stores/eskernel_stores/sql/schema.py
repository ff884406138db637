"""The schema's versions: created on first use, upgraded in place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from sqlalchemy import Connection, insert, inspect, select, update

from eskernel.errors import StoreUnavailable
from eskernel_stores.sql.database import Backend, Database
from eskernel_stores.sql.tables import CHECKPOINTS, EVENTS, LEASES, SCHEMA, SNAPSHOTS

Step = Callable[[Connection, Backend], None]
"""Takes a schema from one version to the next."""


def _create(connection: Connection, backend: Backend) -> None:
    for table in (SCHEMA, EVENTS, SNAPSHOTS):
        table.create(connection)
    connection.execute(insert(SCHEMA).values(one=1, version=0))
    backend.create(connection)


def _add_checkpoints(connection: Connection, _: Backend) -> None:
    for table in (CHECKPOINTS, LEASES):
        table.create(connection)


def _add_fencing(connection: Connection, backend: Backend) -> None:
    backend.add_fencing(connection)


STEPS: Final[Sequence[Step]] = (_create, _add_checkpoints, _add_fencing)
"""The first makes version 1 of nothing; a change of the tables adds one."""


def prepare(database: Database, backend: Backend, steps: Sequence[Step] = STEPS) -> None:
    """Bring the tables to the version this eskernel knows.

    Any number of processes may do so at once: one does it while the others wait.

    Args:
        database: where.
        backend: its kind.
        steps: from nothing to the newest version.

    Raises:
        StoreUnavailable: the tables are of a newer version, or the database refuses.
    """
    newest = len(steps)
    with database.connect() as connection:
        if _version(connection, newest) == newest:
            return
    with database.transaction() as connection:
        backend.lock_schema(connection)
        for step in steps[_version(connection, newest) :]:
            step(connection, backend)
        connection.execute(update(SCHEMA).values(version=newest))


def _version(connection: Connection, newest: int) -> int:
    """Return the version of the tables there are, 0 for none; raises if it is newer than known."""
    if not inspect(connection).has_table(SCHEMA.name):
        return 0
    version: int = connection.execute(select(SCHEMA.c.version)).scalar_one()
    if version > newest:
        raise StoreUnavailable(
            f"the tables are of version {version}, and this eskernel knows versions up to "
            f"{newest}: install the eskernel that made them, or a newer one"
        )
    return version
