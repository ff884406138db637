"""Checkpoints in a table, guarded by the lease of their name."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from eskernel.values import Checkpoint
from eskernel_stores.sql import leases
from eskernel_stores.sql.tables import CHECKPOINTS

_KEY = ("name", "slot")


def load(connection: Connection, name: str, slot: str) -> Checkpoint | None:
    """Return the checkpoint in a slot, or None."""
    columns = CHECKPOINTS.c
    row = connection.execute(
        select(
            columns.position, columns.version, columns.state, columns.notes, columns.epoch
        ).where(columns.name == name, columns.slot == slot)
    ).one_or_none()
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
        insert = (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(CHECKPOINTS)
        others = {key: insert.excluded[key] for key in full[0] if key not in _KEY}
        connection.execute(insert.on_conflict_do_update(index_elements=_KEY, set_=others), full)
