"""Exponential backoff with jitter."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays that double from `first` to `longest`, each scattered so that crowds disperse.

    The "equal jitter" of Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015),
    with a share of choice.

    Attributes:
        first: seconds before the first retry.
        longest: seconds no delay exceeds.
        jitter: share of the delay that is random, 0 to 1.
    """

    first: float = 0.01
    longest: float = 5.0
    jitter: float = 0.5

    def delay(self, attempt: int, rng: random.Random) -> float:
        """Return the seconds to wait before attempt 1, 2, 3 and so on."""
        full = self.first
        for _ in range(attempt - 1):
            full = min(full * 2, self.longest)
            if full == self.longest:
                break
        return min(full, self.longest) * (1 - self.jitter * rng.random())
