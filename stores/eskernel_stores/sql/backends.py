"""Which kind of database a URL names."""

from __future__ import annotations

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from eskernel_stores.sql.database import Backend
from eskernel_stores.sql.postgresql import PostgresqlBackend
from eskernel_stores.sql.sqlite import SqliteBackend
from eskernel_stores.urls import shown


def checked_url(url: str | URL) -> URL:
    """Return a URL in parts; raises ValueError if it is none."""
    try:
        return make_url(url)
    except (ArgumentError, ValueError) as error:  # no URL, or no number as the port
        raise ValueError(
            f"{shown(url)} is no database URL; write sqlite:///file.db or "
            "postgresql://user:password@host/database"
        ) from error


def backend_of(url: URL, synchronous: str, timeout: float, pool_size: int) -> Backend:
    """Return the backend of a URL, for the arguments of `SqlStore`; raises as that does."""
    kind = url.drivername
    if kind == "sqlite":
        return SqliteBackend(url, synchronous=synchronous, timeout=timeout, pool_size=pool_size)
    if kind in ("postgresql", "postgresql+psycopg"):
        return PostgresqlBackend(url, timeout=timeout, pool_size=pool_size)
    raise ValueError(f"SqlStore knows sqlite and postgresql (through psycopg 3), not {kind!r}")
