"""ManualClock: time that passes only when a test says so."""

from __future__ import annotations

from threading import Lock


class ManualClock:
    """A `eskernel.contracts.Clock` for tests; every method may be called from any thread.

    Args:
        now: the first reading of `time()`, Unix seconds. `monotonic()` starts at 0.
    """

    def __init__(self, now: float = 0.0) -> None:
        self._start = now
        self._elapsed = 0.0
        self._lock = Lock()

    def time(self) -> float:
        """Return seconds since the Unix epoch."""
        return self._start + self._elapsed

    def monotonic(self) -> float:
        """Return the seconds this clock was advanced by so far."""
        return self._elapsed

    def advance(self, seconds: float) -> None:
        """Let time pass.

        Args:
            seconds: how much, at least 0.

        Raises:
            ValueError: `seconds` is negative or not a number.
        """
        if not seconds >= 0:
            raise ValueError(f"a clock only goes forward: advance by at least 0, not {seconds!r}")
        with self._lock:
            self._elapsed += seconds
