"""HintListeners: who wants to hear of appends, for stores that give hints."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

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
