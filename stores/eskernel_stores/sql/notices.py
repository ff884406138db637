"""Notices: PostgreSQL's LISTEN and NOTIFY, as hints that something was appended.

A notice is sent after the append was committed, in a transaction of its own: in the append's, it
would make the server commit one after another all who append.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy import Engine

from eskernel_stores.hints import HintListeners
from eskernel_stores.sql.listener import Listener
from eskernel_stores.sql.notifier import Notifier


class Notices:
    """Sends and receives the hints of one store, on threads that start when they are needed.

    Neither uses the engine's pool: what they wait for keeps no connection from others.

    Args:
        engine: of PostgreSQL through psycopg; connects when asked.
    """

    def __init__(self, engine: Engine) -> None:
        self._connect = partial(_connect, engine)
        self._notifier = Notifier(self._connect)
        self._pid = os.getpid()
        self._tells = HintListeners()
        self._lock = threading.Lock()  # guards the rest, and that it fits to who is to be told
        self._closed = False
        self._listener: Listener | None = None  # there is one as long as somebody wants to be told

    def appended(self) -> None:
        """Have a notice sent soon; costs nearly nothing, and never fails."""
        self._notifier.appended()

    def on_append(self, tell: Callable[[], None]) -> Callable[[], None]:
        """Have a function called after appends; see `HintingEventStore.on_append`.

        After `close`, and in a forked child of the process that made this, it never is.
        """
        with self._lock:
            if self._closed or os.getpid() != self._pid:
                return _do_nothing
            ticket = self._tells.add(tell)  # before the listener can tell
            if self._listener is None:
                self._listener = Listener(self._connect, self._tells.tell)
        return partial(self._forget, ticket)

    def close(self) -> None:
        """End both threads, and wait a second at most until they have closed their connections."""
        with self._lock:
            self._closed = True
            self._tells.clear()
            listener, self._listener = self._listener, None
        if listener is not None:
            listener.stop()
            listener.join(1)
        self._notifier.close()

    def _forget(self, ticket: object) -> None:
        with self._lock:
            if self._tells.remove(ticket) or self._listener is None:
                return
            listener, self._listener = self._listener, None
        listener.stop()


def _connect(engine: Engine) -> Any:
    """Return a connection of psycopg's own, on which a statement is a transaction."""
    arguments, options = engine.dialect.create_connect_args(engine.url)
    name = f"{options['application_name']}-hints"  # as the server's administrator sees it
    connection: Any = engine.dialect.connect(*arguments, **{**options, "application_name": name})
    connection.autocommit = True
    return connection


def _do_nothing() -> None:
    pass
