"""Deadline: when a caller's time is over."""

from __future__ import annotations

import time


class Deadline:
    """The end of a time that begins now.

    Args:
        timeout: seconds; None for a time that never ends.
    """

    def __init__(self, timeout: float | None) -> None:
        self._end = None if timeout is None else time.monotonic() + timeout

    def is_over(self) -> bool:
        """Return whether the time is over."""
        return self._end is not None and time.monotonic() >= self._end

    def within(self, seconds: float) -> float:
        """Return so many seconds, or those that are left if these are fewer."""
        return (
            seconds if self._end is None else max(0.0, min(seconds, self._end - time.monotonic()))
        )
