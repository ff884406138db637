"""Progress: how far a copy is, as one fraction that never goes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

Progress: TypeAlias = Callable[[str, float], None]
"""`progress(stage, fraction)`: what is being done, and how much of the whole copy is, 0 to 1."""

Advance: TypeAlias = Callable[[float], None]
"""`advance(fraction)`: how much of a stage is done, 0 to 1."""

STEP: Final = 500
"""Events or streams from one report to the next."""

_SHARES: Final = {
    "reading the source": 0.15,
    "reading its streams": 0.1,
    "copying": 0.35,
    "verifying": 0.25,
    "verifying the streams": 0.15,
}
"""Of each stage, in order, its part of the time, roughly: the slowest backend decides."""


class Stages:
    """Reports stage by stage.

    Args:
        progress: who is told; None for nobody.
    """

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._left = iter(_SHARES.items())
        self._done = 0.0

    def begin(self) -> Advance:
        """Begin the next stage and return what reports on it."""
        stage, share = next(self._left)
        start, self._done = self._done, self._done + share
        reached = 0.0

        def advance(fraction: float) -> None:
            nonlocal reached
            reached = max(reached, min(fraction, 1.0))
            self._tell(stage, start + share * reached)

        advance(0.0)
        return advance

    def finish(self) -> None:
        """Report that everything is done."""
        self._tell("done", 1.0)

    def _tell(self, stage: str, fraction: float) -> None:
        if self._progress is not None:
            self._progress(stage, min(fraction, 1.0))
