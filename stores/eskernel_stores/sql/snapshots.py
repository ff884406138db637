"""Snapshots in a table."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from eskernel.codec import Codec
from eskernel.errors import CorruptStore
from eskernel.values import Receipt, Snapshot, StreamId
from eskernel_stores.sql.tables import SNAPSHOTS

_PLAIN = Codec()
_KEY = ("aggregate_type", "aggregate_id", "sequence")
_NEW = tuple.__new__


def put(connection: Connection, snapshot: Snapshot) -> None:
    """Store a sealed snapshot, in place of one of the same sequence."""
    receipts = _PLAIN.pack([list(receipt) for receipt in snapshot.receipts])
    values = {
        "aggregate_type": snapshot.stream_id[0],
        "aggregate_id": snapshot.stream_id[1],
        "sequence": snapshot.sequence,
        "state": snapshot.body,
        "version": snapshot.version,
        "receipts": receipts,
        "timestamp": snapshot.timestamp,
    }
    insert = (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(SNAPSHOTS)
    others = {name: insert.excluded[name] for name in values if name not in _KEY}
    connection.execute(insert.on_conflict_do_update(index_elements=_KEY, set_=others), values)


def forget_old(connection: Connection, stream_id: StreamId, keep: int) -> None:
    """Delete all but the `keep` snapshots of highest sequence.

    Rows that another process is deleting are left to it, so that the two never wait for each other.
    """
    of_stream = _of(stream_id)
    old = (
        select(SNAPSHOTS.c.sequence)
        .where(*of_stream)
        .order_by(SNAPSHOTS.c.sequence.desc())
        .offset(keep)
    )
    sequences = connection.execute(old).scalars().all()
    if sequences:
        connection.execute(
            delete(SNAPSHOTS).where(
                *of_stream,
                SNAPSHOTS.c.sequence.in_(
                    select(SNAPSHOTS.c.sequence)
                    .where(*of_stream, SNAPSHOTS.c.sequence.in_(sequences))
                    .with_for_update(skip_locked=True)
                ),
            )
        )


def latest(connection: Connection, stream_id: StreamId, unpack: Any) -> Snapshot | None:
    """Return the stream's snapshot of the highest sequence, or None.

    Raises:
        CorruptStore: its receipts cannot be read.
    """
    columns = SNAPSHOTS.c
    newest = (
        select(
            columns.sequence, columns.state, columns.version, columns.receipts, columns.timestamp
        )
        .where(*_of(stream_id))
        .order_by(columns.sequence.desc())
        .limit(1)
    )
    row = connection.execute(newest).one_or_none()
    if row is None:
        return None
    sequence, state, version, packed, timestamp = row
    receipts = _read_receipts(packed, stream_id, sequence)
    return _NEW(Snapshot, (stream_id, sequence, state, version, receipts, timestamp, unpack))


def _read_receipts(packed: bytes, stream_id: StreamId, sequence: int) -> tuple[Receipt, ...]:
    try:
        return tuple(Receipt(*receipt) for receipt in _PLAIN.unpack(packed))
    except (CorruptStore, TypeError) as error:
        raise CorruptStore(
            f"the receipts of the snapshot at {sequence} of stream {stream_id} cannot be read: "
            f"{error}; delete the snapshot",
            stream_id,
            sequence,
        ) from error


def _of(stream_id: StreamId) -> tuple[Any, ...]:
    aggregate_type, aggregate_id = stream_id
    return (
        SNAPSHOTS.c.aggregate_type == aggregate_type,
        SNAPSHOTS.c.aggregate_id == aggregate_id,
    )
