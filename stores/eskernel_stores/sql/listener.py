"""Listener: the thread that is told of appends."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

import structlog

from eskernel_stores.sql.notifier import CHANNEL, FIRST_DELAY, LONGEST_DELAY

_log = structlog.get_logger("eskernel")


class Listener:
    """Listens on a connection of its own, and on another whenever that is lost.

    Its daemon thread starts at once.

    Args:
        connect: returns a new psycopg connection in autocommit mode.
        tell: called after a notice, and whenever it has begun to listen, for what was missed.
    """

    def __init__(self, connect: Callable[[], Any], tell: Callable[[], None]) -> None:
        self._connect = connect
        self._tell = tell
        self._stopped = False
        self._delay = FIRST_DELAY  # the thread's
        # What is written to one end of the pair ends what the thread waits for at the other.
        self._bell, self._ear = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="eskernel-listener", daemon=True)
        try:
            self._thread.start()
        except BaseException:
            self._hang_up()
            raise

    def stop(self) -> None:
        """Have the thread end; returns at once, and may be called twice."""
        self._stopped = True
        with suppress(OSError):  # it has ended
            self._bell.send(b"!")

    def join(self, seconds: float) -> None:
        """Wait until the thread has ended, if another calls this."""
        if self._thread is not threading.current_thread():
            self._thread.join(seconds)

    def _run(self) -> None:
        try:
            while not self._stopped:
                try:
                    with closing(self._connect()) as connection:
                        self._listen(connection)
                except Exception as error:  # noqa: BLE001 - readers look without hints, too
                    self._note(error)
                    self._wait(None, self._delay)
                    self._delay = min(2 * self._delay, LONGEST_DELAY)
        finally:
            self._hang_up()

    def _listen(self, connection: Any) -> None:
        """Pass notices on until stopped; raises psycopg.Error when the connection is lost."""
        connection.execute(f"LISTEN {CHANNEL}")
        self._delay = FIRST_DELAY
        self._tell()
        while not self._stopped:
            self._wait(connection, None)
            connection.pgconn.consume_input()
            noticed = False
            while connection.pgconn.notifies() is not None:
                noticed = True
            if noticed and not self._stopped:
                self._tell()

    def _wait(self, connection: Any, seconds: float | None) -> None:
        """Wait until stopped, there is something to read, or the time is over."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._ear, selectors.EVENT_READ)
            if connection is not None:
                selector.register(connection.fileno(), selectors.EVENT_READ)
            selector.select(seconds)

    def _note(self, error: Exception) -> None:
        """Log that hints are missing, once until there are some again."""
        if self._delay == FIRST_DELAY and not self._stopped:
            with suppress(Exception):
                _log.warning("hints_interrupted", error=repr(error))

    def _hang_up(self) -> None:
        self._bell.close()
        self._ear.close()
