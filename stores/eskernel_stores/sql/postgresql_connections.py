"""Connections to PostgreSQL, kept in a pool and looked at before they are used.

One the server has closed meanwhile is replaced before anything is sent on it, so that it is known
that nothing was stored.
"""

from __future__ import annotations

import select
from functools import partial
from typing import Any, Final

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DisconnectionError

_SETTINGS: Final = {
    "application_name": "eskernel",
    "connect_timeout": "5",  # seconds; so are the next two
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",  # milliseconds; a server that vanished is noticed
}
"""Of libpq; the URL's own come first."""

_MAX_IDLE: Final = 10  # seconds between two statements of a transaction


def new_engine(url: URL, *, timeout: float, pool_size: int) -> Engine:
    """Return an engine on whose connections a statement is a transaction.

    Args:
        url: names server and database.
        timeout: seconds to wait for a free connection, and for a lock.
        pool_size: connections that are kept open; as many again may be open at once.

    Raises:
        ModuleNotFoundError: psycopg is not installed.
    """
    engine = create_engine(
        url.set(drivername="postgresql+psycopg", query={**_SETTINGS, **url.query}),
        isolation_level="AUTOCOMMIT",
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=timeout,
    )
    event.listen(engine, "connect", partial(_set_up, timeout=timeout))
    event.listen(engine, "checkout", _refuse_closed)
    event.listen(engine, "handle_error", _note_end)
    return engine


def _set_up(connection: Any, _: object, *, timeout: float) -> None:
    """Have each statement see what was committed before it, whatever the database's default is.

    And have it wait for locks as long as for a free connection; and keep no lock for long in a
    process that was paused in the middle of a transaction.
    """
    try:
        connection.autocommit = True  # as the engine has it
        connection.execute("SET default_transaction_isolation = 'read committed'")
        connection.execute(
            "SELECT set_config('lock_timeout', %s, false)", (f"{timeout * 1000:.0f}ms",)
        )
        connection.execute(f"SET idle_in_transaction_session_timeout = '{_MAX_IDLE}s'")
    except BaseException:
        connection.close()
        raise


def _refuse_closed(connection: Any, *_: object) -> None:
    """Have the pool replace a connection that the server has closed.

    An idle connection has nothing to read: what there is, is the server's farewell.
    """
    if connection.closed or _can_be_read(connection.pgconn.socket):
        error = DisconnectionError("the server has closed the connection")
        error.invalidate_pool = True
        raise error


def _note_end(context: ExceptionContext) -> None:
    """Give up a connection that broke, or that the server says it ends, before it is closed.

    A statement so answered may have been committed.
    """
    error: Any = context.original_exception
    driver: Any = context.dialect.loaded_dbapi
    if isinstance(error, driver.Error):
        broke = error.sqlstate is None and isinstance(error, driver.OperationalError)
        if broke or error.diag.severity_nonlocalized in ("FATAL", "PANIC"):
            context.is_disconnect = True


def _can_be_read(socket: int) -> bool:
    if not hasattr(select, "poll"):  # Windows, where select knows every number
        return bool(select.select([socket], [], [], 0)[0])
    poll = select.poll()
    poll.register(socket, select.POLLIN)
    return bool(poll.poll(0))
