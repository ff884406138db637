"""Races: compare-and-set is tried again when somebody else was first."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from eskernel.errors import StoreUnavailable

T = TypeVar("T")

_PATIENCE: Final = 5.0  # seconds
_FIRST_PAUSE: Final = 0.001
_LONGEST_PAUSE: Final = 0.05


class LostRace(Exception):
    """Somebody else has written what was read, or is writing it; nothing was stored."""


async def until_won(attempt: Callable[[], Awaitable[T]]) -> T:
    """Return what an attempt returns, made again after each lost race.

    Raises:
        StoreUnavailable: it has lost every race for five seconds; nothing is stored.
    """
    loop = asyncio.get_running_loop()
    deadline, pause = loop.time() + _PATIENCE, _FIRST_PAUSE
    while True:
        try:
            return await attempt()
        except LostRace as error:
            if loop.time() > deadline:
                raise StoreUnavailable(
                    f"others have written the same for {_PATIENCE} seconds; try again"
                ) from error
        await asyncio.sleep(random.uniform(0, pause))  # noqa: S311 - no secret
        pause = min(2 * pause, _LONGEST_PAUSE)
