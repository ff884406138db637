"""Ends: where appends are known to end in the log, for readers that go on from there."""

from __future__ import annotations

from typing import Final

_KEPT: Final = 1000


class Ends:
    """Positions of last events of appends; may be used from many threads.

    One that is forgotten costs its reader a query.
    """

    def __init__(self) -> None:
        # Its methods are single steps of the interpreter, and nothing is lost by losing some.
        self._positions: set[int] = set()

    def __contains__(self, position: int) -> bool:
        return position in self._positions

    def note(self, position: int) -> None:
        """Take note of an append's end."""
        if len(self._positions) >= _KEPT:
            self._positions.clear()
        self._positions.add(position)
