"""RawClient: the library's client, for which answers are not taken apart."""

from __future__ import annotations

from collections.abc import Callable

from nats.aio.client import Client


class RawClient(Client):
    """Hands over answers as they come; a page of thousands costs half of what it does as messages.

    Args:
        take: called with the subject, the headers and the payload of an answer.

    Attributes:
        prefix: what the subjects of answers begin with.
    """

    def __init__(self, take: Callable[[bytes, bytes, bytes], None]) -> None:
        super().__init__()
        self._take = take
        self.prefix = b"\0"

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes
    ) -> None:
        if subject.startswith(self.prefix):
            self._take(subject, headers or b"", data)
        else:
            await super()._process_msg(sid, subject, reply, data, headers)

    def on_end(self, tell: Callable[[], None]) -> None:
        """Have a function called when nothing is read any more, for whatever reason."""
        assert self._reading_task is not None
        self._reading_task.add_done_callback(lambda _: tell())

    def abort(self) -> None:
        """Drop the connection with what has not been sent; harmless if it is closed."""
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()
