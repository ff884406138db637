"""Freshness: how to live with a leader that does not know yet that there is another.

A server that stood still, or was cut off from the others, may lead a stream in its own eyes for
some seconds more. What it says is true, but old: its messages are the first ones of those there
are. So what a store has seen once must be in every later answer, or the question is asked again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from eskernel.errors import StoreUnavailable
from eskernel_stores.jetstream.connecting.connection import Connection

T = TypeVar("T")

_PAUSE: Final = 0.05  # seconds before a question is asked again
_PATIENCE: Final = 1.0  # seconds of old answers after which another server is asked


class Freshness:
    """Knows how new answers must be; for the connection's loop.

    Args:
        connection: whose server is left if it does not learn better.
        timeout: seconds to ask for.

    Attributes:
        newest: the largest number of a message that was acknowledged or read. It never falls, and
            is the loop's thread's alone.
    """

    def __init__(self, connection: Connection, timeout: float) -> None:
        self._connection = connection
        self._timeout = timeout
        self.newest = 0

    def note(self, message: int) -> None:
        """Note that a message is there."""
        self.newest = max(self.newest, message)

    async def ask(self, question: Callable[[], Awaitable[T]], is_fresh: Callable[[T], bool]) -> T:
        """Ask until an answer is new enough, and return it.

        Raises:
            StoreUnavailable: none is, within the time.
        """
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while not is_fresh(answer := await question()):
            waited = loop.time() - begun
            if waited > self._timeout:
                raise StoreUnavailable(
                    "the server that answers knows less than this store has seen; it may have "
                    "been cut off from the others, try again"
                )
            if waited > _PATIENCE:
                self._connection.leave(begun)
            await asyncio.sleep(_PAUSE)
        return answer
