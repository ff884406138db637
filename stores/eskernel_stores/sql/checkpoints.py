"""Checkpoints in a table, guarded by the lease of their name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from eskernel.values import Checkpoint
from eskernel_stores.sql import leases
from eskernel_stores.sql.tables import CHECKPOINTS

_KEY: Final = ("name", "slot")
_LOAD: Final = select(*(CHECKPOINTS.c[name] for name in Checkpoint._fields)).where(
    CHECKPOINTS.c.name == bindparam("name"), CHECKPOINTS.c.slot == bindparam("slot")
)


def _saving(dialect: Any) -> Any:
    insert = dialect.insert(CHECKPOINTS)
    others = {name: insert.excluded[name] for name in Checkpoint._fields}
    return insert.on_conflict_do_update(index_elements=_KEY, set_=others)


_SAVE: Final = {"sqlite": _saving(sqlite), "postgresql": _saving(postgresql)}


def load(connection: Connection, name: str, slot: str) -> Checkpoint | None:
    """Return the checkpoint in a slot, or None."""
    row = connection.execute(_LOAD, {"name": name, "slot": slot}).one_or_none()
    return None if row is None else Checkpoint(*row)


def save(
    connection: Connection, name: str, epoch: int, slots: Mapping[str, Checkpoint | None]
) -> None:
    """Replace checkpoints, and keep the name's lease locked until the transaction's end.

    Raises:
        StaleEpoch: the name has seen a larger epoch; the transaction must fail.
    """
    before = leases.lock(connection, name)
    held = before.admitted(name, epoch)
    if held != before:
        leases.put(connection, name, held)
    empty = [slot for slot, checkpoint in slots.items() if checkpoint is None]
    if empty:
        columns = CHECKPOINTS.c
        connection.execute(delete(CHECKPOINTS).where(columns.name == name, columns.slot.in_(empty)))
    full = [
        {"name": name, "slot": slot, **checkpoint._replace(epoch=epoch)._asdict()}
        for slot, checkpoint in slots.items()
        if checkpoint is not None
    ]
    if full:
        connection.execute(_SAVE[connection.dialect.name], full)
