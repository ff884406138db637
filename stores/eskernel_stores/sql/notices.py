"""Notices: PostgreSQL's LISTEN and NOTIFY, as hints that something was appended.

A notice is sent after the append was committed, in a transaction of its own: in the append's, it
would make the server commit one after another all who append.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy import Engine

from eskernel_stores.hints import Hints
from eskernel_stores.sql.listener import Listener
from eskernel_stores.sql.notifier import Notifier


class Notices:
    """Sends and receives the hints of one store, on threads that start when they are needed.

    Neither uses the engine's pool: what they wait for keeps no connection from others.

    Args:
        engine: of PostgreSQL through psycopg; connects when asked.
    """

    def __init__(self, engine: Engine) -> None:
        connect = partial(_connect, engine)
        self._notifier = Notifier(connect)
        self._hints = Hints(partial(Listener, connect))

    def appended(self) -> None:
        """Have a notice sent soon; costs nearly nothing, and never fails."""
        self._notifier.appended()

    def on_append(self, tell: Callable[[], None]) -> Callable[[], None]:
        """Have a function called after appends; see `Hints.on_append`."""
        return self._hints.on_append(tell)

    def close(self) -> None:
        """End both threads, and wait a second at most until they have closed their connections."""
        self._hints.close()
        self._notifier.close()


def _connect(engine: Engine) -> Any:
    """Return a connection of psycopg's own, on which a statement is a transaction."""
    arguments, options = engine.dialect.create_connect_args(engine.url)
    name = f"{options['application_name']}-hints"  # as the server's administrator sees it
    connection: Any = engine.dialect.connect(*arguments, **{**options, "application_name": name})
    connection.autocommit = True
    return connection
