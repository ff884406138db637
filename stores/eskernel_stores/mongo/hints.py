"""Hints: the functions to call after appends, and the thread that calls them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

from eskernel_stores.hints import HintListeners
from eskernel_stores.mongo.database import Database
from eskernel_stores.mongo.watcher import Watcher


class Hints:
    """Receives the hints of one store, on a thread that starts when it is needed.

    Args:
        database: where the events are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._tells = HintListeners()
        self._lock = threading.Lock()  # guards the rest, and that it fits to the functions
        self._closed = False
        self._watcher: Watcher | None = None  # there is one as long as there are functions

    def on_append(self, tell: Callable[[], None]) -> Callable[[], None]:
        """Have a function called after appends; see `HintingEventStore.on_append`.

        After `close`, and in a forked child of the process that made this, it never is.
        """
        if not self._database.is_own:
            return _do_nothing  # before the lock, which another thread may have held at the fork
        with self._lock:
            if self._closed:
                return _do_nothing
            ticket = self._tells.add(tell)  # before the thread tells that it watches
            if self._watcher is None:
                try:
                    self._watcher = Watcher(self._database, self._tells.tell)
                except BaseException:
                    self._tells.remove(ticket)
                    raise
        return partial(self._forget, ticket)

    def close(self) -> None:
        """End the thread, and wait a second at most until it has; nothing in a forked child."""
        if not self._database.is_own:
            return
        with self._lock:
            self._closed = True
            self._tells.clear()
            watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.stop()
            watcher.join(1)

    def _forget(self, ticket: object) -> None:
        if not self._database.is_own:
            return
        with self._lock:
            if self._tells.remove(ticket) or self._watcher is None:
                return
            watcher, self._watcher = self._watcher, None
        watcher.stop()


def _do_nothing() -> None:
    pass
