"""RawClient: the library's client, for which answers are not taken apart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from nats.aio.client import Client


class RawClient(Client):
    """Hands over answers as they come; a page of thousands costs half of what it does as messages.

    Args:
        take: called with the subject, the headers and the payload of an answer.
        is_secret: whether to say nothing on a connection that is not encrypted. The library
            encrypts one if the server wants it, and else sends passwords as they are.

    Attributes:
        prefix: what the subjects of answers begin with.
    """

    def __init__(
        self, take: Callable[[bytes, bytes, bytes], None], *, is_secret: bool = False
    ) -> None:
        super().__init__()
        self._take = take
        self._is_secret = is_secret
        self.prefix = b"\0"

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes
    ) -> None:
        if subject.startswith(self.prefix):
            self._take(subject, headers or b"", data)
        else:
            await super()._process_msg(sid, subject, reply, data, headers)

    def _connect_command(self) -> bytes:
        if self._is_secret and not self._server_info.get("tls_required"):
            raise ConnectionError("the server does not encrypt, which was asked for: see its tls")
        return super()._connect_command()

    def on_end(self, tell: Callable[[], None]) -> None:
        """Have a function called when nothing is read any more, for whatever reason."""
        assert self._reading_task is not None

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled():
                task.exception()  # of closing, which fails where the last bytes cannot be sent
            tell()

        self._reading_task.add_done_callback(ended)

    def abort(self) -> None:
        """Drop the connection with what has not been sent; harmless if it is closed."""
        for subscription in self._subs.values():  # left behind where closing has failed
            subscription._stop_processing()  # noqa: SLF001 - the library's own, as this is
        self._subs.clear()
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()
