"""Reading: pages of messages, each read whole before its events are handed out.

Any replica may send a page, also one that lags behind. It sends what it has, so what it has not is
asked for again, until the end is reached that the stream's leader has told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

from eskernel_stores.jetstream.connecting.connection import Connection
from eskernel_stores.jetstream.connecting.replies import read_direct, sequence_of
from eskernel_stores.jetstream.log.freshness import Freshness

PAGE: Final = 4000
"""Messages read at once."""

PAGE_BYTES: Final = 8 << 20
"""Bytes after which a page ends."""

Row = tuple[int, bytes]
"""The number of a message, and its payload."""

LogRow = tuple[int, bytes, str]
"""The number of a message, its payload, and its subject."""


class Reading:
    """Reads pages; the coroutines are for the connection's loop.

    Args:
        connection: to the servers.
        stream: what the stream is called.
        freshness: how new answers must be.
    """

    def __init__(self, connection: Connection, stream: str, freshness: Freshness) -> None:
        self._connection = connection
        self._stream = stream
        self._freshness = freshness

    def pages(self, subject: str, message: int, end: int) -> Pages:
        """Return the pages of a subject from a message to another, which is there."""
        return Pages(partial(self._page, subject), message, end)

    async def log_page(self, message: int, count: int) -> list[LogRow]:
        """Return messages of the whole stream, at least one.

        Args:
            message: the number from which on; there must be one.
            count: how many at most.
        """
        ask = partial(
            self._connection.raw_page,
            *(self._stream, message, None, min(count, PAGE), PAGE_BYTES),
        )
        replies = await self._freshness.ask(ask, bool)
        stored = [read_direct(headers, payload) for headers, payload in replies]
        self._freshness.note(stored[-1].sequence)
        return [(one.sequence, one.payload, one.subject) for one in stored]

    async def last(self) -> LogRow | None:
        """Return the stream's last message, as its leader has it; None if it is empty."""
        newest = self._freshness.newest
        found = await self._freshness.ask(
            lambda: self._connection.last(self._stream, ">"),
            lambda found: (0 if found is None else found.sequence) >= newest,
        )
        if found is None:
            return None
        self._freshness.note(found.sequence)
        return found.sequence, found.payload, found.subject

    async def get(self, message: int) -> LogRow | None:
        """Return the message with a number, as the stream's leader has it, or None."""
        found = await self._connection.get(self._stream, message)
        return None if found is None else (found.sequence, found.payload, found.subject)

    async def _page(self, subject: str, message: int) -> list[Row]:
        """Return messages of a subject, at least one."""
        replies = await self._connection.raw_page(self._stream, message, subject, PAGE, PAGE_BYTES)
        if replies:
            return [(sequence_of(headers), payload) for headers, payload in replies]
        found = await self._freshness.ask(
            lambda: self._connection.next(self._stream, subject, message),
            lambda found: found is not None,
        )
        assert found is not None
        return [(found.sequence, found.payload)]


class Pages:
    """Reads page after page; each is asked for while the caller is busy with the one before.

    Args:
        read: returns messages from one on, at least one.
        message: the number from which on.
        end: the number of the last message wanted.
    """

    def __init__(
        self,
        read: Callable[[int], Coroutine[Any, Any, list[Row]]],
        message: int,
        end: int,
    ) -> None:
        self._read = read
        self._message = message
        self._end = end
        self._coming: asyncio.Task[list[Row]] | None = None

    async def next(self) -> list[Row]:
        """Return the next page; there must be one."""
        rows = await (self._coming or self._read(self._message))
        self._message = rows[-1][0] + 1
        self._coming = None
        if self._message <= self._end:
            reading = self._read(self._message)
            self._coming = asyncio.get_running_loop().create_task(reading)
            self._coming.add_done_callback(_look_at)
        return rows


def _look_at(task: asyncio.Task[Any]) -> None:
    """Look at a task's error, which is no news if nobody wants the page any more."""
    if not task.cancelled():
        task.exception()
