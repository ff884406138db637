"""Leases in a table, each row locked while what it says is looked at and changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, bindparam, select, update
from sqlalchemy.dialects import postgresql, sqlite

from eskernel.values import Lease
from eskernel_stores.leases import Held
from eskernel_stores.sql.tables import LEASES

_HELD: Final = (LEASES.c.owner, LEASES.c.epoch, LEASES.c.expires)
_FIND: Final = select(*_HELD).where(LEASES.c.name == bindparam("name")).with_for_update()
_ARE_NAMED: Final = LEASES.c.name.in_(bindparam("names", expanding=True))
_FIND_ALL: Final = select(LEASES.c.name, *_HELD).where(_ARE_NAMED)
_LOCK_OWN: Final = (
    select(LEASES.c.name)
    .where(_ARE_NAMED, LEASES.c.owner == bindparam("asker"))
    .order_by(LEASES.c.name)  # as everybody, or else two could wait for each other
    .with_for_update()
)
_RELEASE: Final = (
    update(LEASES)
    .where(_ARE_NAMED, LEASES.c.owner == bindparam("asker"))
    .values(owner=None, expires=Held().expires)
)
_INSERT: Final = sqlite.insert(LEASES)
_PUT_ALL: Final = _INSERT.on_conflict_do_update(
    index_elements=("name",), set_={column.name: _INSERT.excluded[column.name] for column in _HELD}
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
    connection.execute(update(LEASES).where(LEASES.c.name == name).values(held._asdict()))


def acquire_in_file(
    connection: Connection, names: Sequence[str], owner: str, seconds: float, now: float
) -> list[Lease]:
    """Take or renew leases in SQLite, in a transaction that keeps all other writers out.

    Args:
        connection: in the transaction.
        names: each once.
        owner: who asks.
        seconds: how long they shall be valid.
        now: Unix seconds, read in the transaction.
    """
    before = {
        name: Held(*held) for name, *held in connection.execute(_FIND_ALL, {"names": [*names]})
    }
    after = {name: before.get(name, Held()).acquired(owner, seconds, now) for name in names}
    changed: list[dict[str, Any]] = [
        {"name": name, **held._asdict()} for name, held in after.items() if held != before.get(name)
    ]
    if changed:
        connection.execute(_PUT_ALL, changed)
    return [after[name].shown(now) for name in names]


def release(connection: Connection, names: Sequence[str], owner: str) -> None:
    """Give leases back, those that are the owner's."""
    own = {"names": [*names], "asker": owner}
    connection.execute(_LOCK_OWN, own).all()
    connection.execute(_RELEASE, own)


def _find(connection: Connection, name: str) -> Held | None:
    row = connection.execute(_FIND, {"name": name}).one_or_none()
    return None if row is None else Held(*row)
