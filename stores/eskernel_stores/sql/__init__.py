"""Events and snapshots in SQLite or PostgreSQL, through SQLAlchemy Core."""

from eskernel_stores.sql.store import SqlStore

__all__ = ["SqlStore"]
