"""Hints: a store that tells when something was appended, by whatever process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable


@runtime_checkable
class HintingEventStore(Protocol):
    """An EventStore that shortens the wait of those who poll its log.

    A hint may be late, lost or for nothing; the log alone is the truth.
    """

    def on_append(self, tell: Callable[[], None]) -> Callable[[], None]:
        """Have a function called, on a thread of the store's, soon after appends were committed.

        Args:
            tell: must return at once and not raise. Many appends may share one call.

        Returns:
            A function that ends it; calling that twice is harmless, and so is closing the store.
        """
        ...
