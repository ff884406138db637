"""Leases in a table, each row locked while what it says is looked at and changed."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, bindparam, select, update
from sqlalchemy.dialects import postgresql, sqlite

from eskernel.values import Lease
from eskernel_stores.leases import Held
from eskernel_stores.sql.database import Backend
from eskernel_stores.sql.tables import LEASES

_FIND: Final = (
    select(LEASES.c.owner, LEASES.c.epoch, LEASES.c.expires)
    .where(LEASES.c.name == bindparam("name"))
    .with_for_update()
)


def lock(connection: Connection, name: str) -> Held:
    """Return a name's lease, which stays as it is for others until the transaction's end."""
    held = _find(connection, name)
    if held is None:  # or else of two who come first, the one who waits would see nothing
        insert = (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(LEASES)
        nobody = {"name": name, "epoch": 0, "expires": 0.0}
        connection.execute(insert.on_conflict_do_nothing(), nobody)
        held = _find(connection, name)
        assert held is not None, "no row of this table is ever deleted"
    return held


def put(connection: Connection, name: str, held: Held) -> None:
    """Store what has become of a lease that `lock` returned."""
    row = {"owner": held.owner, "epoch": held.epoch, "expires": held.expires}
    connection.execute(update(LEASES).where(LEASES.c.name == name).values(row))


def acquire(
    connection: Connection, backend: Backend, name: str, owner: str, seconds: float
) -> Lease:
    """Take or renew a lease; see `CheckpointStore.acquire_lease`."""
    before = lock(connection, name)
    now = backend.now(connection)  # after the waiting
    held = before.acquired(owner, seconds, now)
    if held != before:
        put(connection, name, held)
    return held.shown(now)


def release(connection: Connection, name: str, owner: str) -> None:
    """Give a lease back; see `CheckpointStore.release_lease`."""
    before = lock(connection, name)
    held = before.released(owner)
    if held != before:
        put(connection, name, held)


def _find(connection: Connection, name: str) -> Held | None:
    row = connection.execute(_FIND, {"name": name}).one_or_none()
    return None if row is None else Held(*row)
