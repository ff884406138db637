"""Notifier: the thread that tells listeners of appends."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Final

CHANNEL: Final = "eskernel_hints"
"""One for all schemas of a database."""

INTERVAL: Final = 0.01
"""Seconds between two notices: all that is appended meanwhile shares one."""

_IDLE: Final = 30.0  # seconds after which a connection that nobody needs is closed
FIRST_DELAY: Final = 0.1  # seconds before another try; doubled with every failure
LONGEST_DELAY: Final = 5.0
_STATEMENT: Final = "SELECT pg_notify(%s, '')"


class Notifier:
    """Sends notices on a daemon thread, which the first append starts.

    Args:
        connect: returns a new psycopg connection in autocommit mode.
    """

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self._connection: Any = None  # the thread's
        # True in it: something was appended since the last notice was begun. Its methods are single
        # steps of the interpreter, which an exception that interrupts an append cannot cut short.
        self._appended: SimpleQueue[bool] = SimpleQueue()
        self._pid = os.getpid()
        self._ended = threading.Event()
        # Held to start a thread, and by a thread to set `_thread` to itself: an exception may
        # interrupt whoever starts it, when it runs already. Of two, the second ends.
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def appended(self) -> None:
        """Have a notice sent soon, if none is about to be."""
        if self._appended.empty():
            self._appended.put(True)
        if self._thread is None:
            self._start()

    def _start(self) -> None:
        with self._starting:
            if self._thread is not None or self._ended.is_set() or os.getpid() != self._pid:
                return
            thread = threading.Thread(target=self._run, name="eskernel-notifier", daemon=True)
            with suppress(RuntimeError):  # no more threads can be had: the next append tries again
                thread.start()

    def close(self) -> None:
        """End the thread, after a notice of what was just appended; waits a second at most."""
        self._ended.set()
        self._appended.put(False)
        with self._starting:
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(1)

    def _run(self) -> None:
        with self._starting:
            if self._thread is not None:
                return
            self._thread = threading.current_thread()
        try:
            while not self._ended.is_set():
                if self._is_needed():
                    self._send()
                    self._ended.wait(INTERVAL)
                else:
                    self._disconnect()
            if True in self._taken():
                self._try_to_send()
        finally:
            self._disconnect()

    def _is_needed(self) -> bool:
        """Wait for an append; return False when none has come for a while, or the store closes."""
        try:
            first = self._appended.get(timeout=_IDLE)
        except Empty:
            return False
        return first or True in self._taken()

    def _taken(self) -> list[bool]:
        """Return what is in the queue, and empty it."""
        return [self._appended.get_nowait() for _ in range(self._appended.qsize())]

    def _send(self) -> None:
        """Send a notice, as soon as the server can be reached."""
        delay = FIRST_DELAY
        while not self._try_to_send() and not self._ended.wait(delay):
            delay = min(2 * delay, LONGEST_DELAY)

    def _try_to_send(self) -> bool:
        try:
            if self._connection is None:
                self._connection = self._connect()
                # A notice is a transaction with an id, for which the server would wait for the
                # disk, and appends with it.
                self._connection.execute("SET synchronous_commit = off")
            self._connection.execute(_STATEMENT, (CHANNEL,))
        except Exception:  # noqa: BLE001 - whatever it is, no append has failed
            self._disconnect()
            return False
        return True

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                connection.close()
