"""Bounds of what stores can number, and of what is read of it."""

from __future__ import annotations

from typing import Final

from eskernel.values import Range

LAST: Final = 2**63 - 1
"""The largest number that every database knows."""


def bounds_of(range: Range) -> tuple[int, int]:
    """Return the first sequence or position of a range, at least 1, and the one after its last."""
    return max(range.start, 1), LAST if range.stop is None else min(range.stop, LAST)
