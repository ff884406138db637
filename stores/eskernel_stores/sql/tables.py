"""The tables, as SQLAlchemy knows them.

Names and meanings are part of stored data: a change here is a new version in `schema`.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

_NUMBER: Final = BigInteger().with_variant(Integer, "sqlite")  # Integer alone makes a rowid
_TEXT: Final = Text().with_variant(Text(collation="C"), "postgresql")  # equal means same bytes

METADATA: Final = MetaData()

EVENTS: Final = Table(
    "eskernel_events",
    METADATA,
    Column("position", _NUMBER, primary_key=True, autoincrement=False),
    Column("aggregate_type", _TEXT, nullable=False),
    Column("aggregate_id", _TEXT, nullable=False),
    Column("sequence", _NUMBER, nullable=False),
    Column("type", _TEXT, nullable=False),
    Column("payload", LargeBinary, nullable=False),  # msgpack
    Column("metadata", LargeBinary, nullable=False),  # msgpack, or nothing
    Column("tags", _TEXT),  # a JSON array
    Column("timestamp", _NUMBER, nullable=False),  # Unix milliseconds
    Column("command_id", _TEXT),
    Column("append_id", LargeBinary, nullable=False),  # 16 bytes, the same in a whole append
    UniqueConstraint("aggregate_type", "aggregate_id", "sequence", name="eskernel_streams"),
)
"""One row an event. Both kinds of reading are range scans: of the primary key, the log; of the
unique constraint's index, a stream."""

SNAPSHOTS: Final = Table(
    "eskernel_snapshots",
    METADATA,
    Column("aggregate_type", _TEXT, primary_key=True),
    Column("aggregate_id", _TEXT, primary_key=True),
    Column("sequence", _NUMBER, primary_key=True, autoincrement=False),
    Column("state", LargeBinary, nullable=False),  # msgpack
    Column("version", _TEXT, nullable=False),
    Column("receipts", LargeBinary, nullable=False),  # msgpack
    Column("timestamp", _NUMBER, nullable=False),
)

CHECKPOINTS: Final = Table(
    "eskernel_checkpoints",
    METADATA,
    Column("name", _TEXT, primary_key=True),
    Column("slot", _TEXT, primary_key=True),
    Column("position", _NUMBER, nullable=False),
    Column("version", _TEXT, nullable=False),
    Column("state", LargeBinary, nullable=False),  # msgpack, or nothing
    Column("notes", LargeBinary, nullable=False),  # msgpack, or nothing
    Column("epoch", _NUMBER, nullable=False),
)

LEASES: Final = Table(
    "eskernel_leases",
    METADATA,
    Column("name", _TEXT, primary_key=True),
    Column("owner", _TEXT),  # NULL: nobody's
    Column("epoch", _NUMBER, nullable=False),  # the largest the name has seen
    Column("expires", Double, nullable=False),  # Unix seconds
)
"""A row a name, locked by whoever saves its checkpoints or asks for its lease. It is never
deleted, so that no epoch comes twice."""

LOG: Final = Table(
    "eskernel_log",
    METADATA,
    Column("one", Integer, CheckConstraint("one = 1"), primary_key=True, autoincrement=False),
    Column("position", _NUMBER, nullable=False),  # of the newest event
)
"""PostgreSQL only: one row, locked by whoever appends, or gets a lease under a new epoch."""

SCHEMA: Final = Table(
    "eskernel_schema",
    METADATA,
    Column("one", Integer, CheckConstraint("one = 1"), primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),
)
"""One row: which version of these tables this is."""
