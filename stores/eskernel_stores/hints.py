"""Hints: who wants to hear of appends, for stores that give hints."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Protocol

import structlog

_log = structlog.get_logger("eskernel")


class HintListeners:
    """Functions to call after appends; may be used from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the rest; never held while a function is called
        self._tells: dict[object, Callable[[], None]] = {}

    def add(self, tell: Callable[[], None]) -> object:
        """Have a function called from now on; returns a ticket to remove it by."""
        ticket = object()
        with self._lock:
            self._tells[ticket] = tell
        return ticket

    def remove(self, ticket: object) -> bool:
        """Stop calling a function; returns whether others are left. Twice is harmless."""
        with self._lock:
            self._tells.pop(ticket, None)
            return bool(self._tells)

    def clear(self) -> None:
        """Call none any more."""
        with self._lock:
            self._tells.clear()

    def tell(self) -> None:
        """Call them all; one that fails keeps no other from it."""
        with self._lock:
            tells = [*self._tells.values()]
        for tell in tells:
            try:
                tell()
            except Exception as error:  # noqa: BLE001 - it is somebody else's
                with suppress(Exception):
                    _log.error("hint_failed", exc_info=error)


class Listener(Protocol):
    """A thread that hears of appends."""

    def stop(self) -> None:
        """Have the thread end soon; returns at once, and may be called twice."""
        ...

    def join(self, seconds: float) -> None:
        """Wait until the thread has ended, if another calls this."""
        ...


class Hints:
    """Receives the hints of one store, on a thread that starts when it is needed.

    Args:
        listen: starts a listener that calls a function after appends.
    """

    def __init__(self, listen: Callable[[Callable[[], None]], Listener]) -> None:
        self._listen = listen
        self._pid = os.getpid()
        self._listeners = HintListeners()
        self._lock = threading.Lock()  # guards the rest, and that it fits to the functions
        self._closed = False
        self._listener: Listener | None = None  # there is one as long as there are functions

    def on_append(self, tell: Callable[[], None]) -> Callable[[], None]:
        """Have a function called after appends; see `HintingEventStore.on_append`.

        After `close`, and in a forked child of the process that made this, it never is.
        """
        if not self._is_own:
            return do_nothing
        with self._lock:
            if self._closed:
                return do_nothing
            ticket = self._listeners.add(tell)  # before the thread tells that it listens
            if self._listener is None:
                try:
                    self._listener = self._listen(self._listeners.tell)
                except BaseException:
                    self._listeners.remove(ticket)
                    raise
        return partial(self._forget, ticket)

    def close(self) -> None:
        """End the thread, and wait a second at most until it has; nothing in a forked child."""
        if not self._is_own:
            return
        with self._lock:
            self._closed = True
            self._listeners.clear()
            listener, self._listener = self._listener, None
        if listener is not None:
            listener.stop()
            listener.join(1)

    @property
    def _is_own(self) -> bool:
        """Whether this is no copy in a forked child, where another thread may hold the locks."""
        return os.getpid() == self._pid

    def _forget(self, ticket: object) -> None:
        if not self._is_own:
            return
        with self._lock:
            if self._listeners.remove(ticket) or self._listener is None:
                return
            listener, self._listener = self._listener, None
        listener.stop()


def do_nothing() -> None:
    """End what never began."""
