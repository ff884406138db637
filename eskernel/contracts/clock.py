"""Clock: where the kernel reads the time, so that tests can drive it."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Two readings. The standard `time` module is one; `eskernel.testing.ManualClock` another."""

    def time(self) -> float:
        """Return seconds since the Unix epoch; stamps events."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back; measures idleness and back-off."""
        ...
