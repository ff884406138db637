"""Outage: how often to try a store that cannot be reached, and what is logged about it."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import structlog

from eskernel.errors import StoreUnavailable

_log = structlog.get_logger("eskernel")

_FIRST: Final = 0.05  # seconds; doubled with every failure
_LONGEST: Final = 2.0


class Outage:
    """The failures in a row of one reader of a store; used by one thread at a time."""

    def __init__(self) -> None:
        self._failures = 0

    def goes_on(self, error: StoreUnavailable, position: int) -> float:
        """Note a failure; the first of an outage is logged.

        Args:
            error: what the store raised.
            position: the last position read.

        Returns:
            Seconds to wait before the store is tried again.
        """
        self._failures += 1
        if self._failures == 1:
            warn("feed_waits_for_store", error, position)
        return float(min(_FIRST * 2 ** min(self._failures - 1, 10), _LONGEST))

    def is_over(self) -> None:
        """Note that the store has answered."""
        self._failures = 0


def warn(event: str, error: Exception, position: int) -> None:
    """Log a warning; a logger that fails costs the entry and nothing else.

    Args:
        event: what happened, in snake case.
        error: what the store raised.
        position: of the log, where the feed is.
    """
    with suppress(Exception):
        _log.warning(event, error=repr(error), position=position)
