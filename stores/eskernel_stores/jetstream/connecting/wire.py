"""Wire: one connection to one NATS server, from when it stands until it is lost.

The client library could connect again by itself, but would then send late what it was given
before, when callers have long been told that it is lost. So it is never let to: another connection
is another wire, and answers to an old one find nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import count
from typing import Any, Final

from eskernel_stores.jetstream.connecting.address import Login
from eskernel_stores.jetstream.connecting.client import RawClient
from eskernel_stores.jetstream.connecting.replies import RawReply, Reply, is_status

_BUFFER: Final = 1 << 30  # bytes the library may hold before it makes senders wait for ever
_PING_INTERVAL: Final = 1.0  # seconds; a server that does not answer three of them is given up
_CLOSING: Final = 2.0  # seconds to wait for what is on its way out
_Take = Callable[[bytes, bytes], None]


class Lost(Exception):
    """The connection ended before an answer came."""


class Wire:
    """A connection; all methods are for the thread of the loop it was opened on.

    Attributes:
        server: the URL of the server.
        gone: set when the connection is lost or closed.
        problem: the last error the server has complained of, in words.
        hung_up: whether it ended the connection without a word that was read.
    """

    def __init__(self, server: str, *, is_secret: bool = False) -> None:
        self.server = server
        self.gone = asyncio.Event()
        self.problem = ""
        self.hung_up = False
        self._client = RawClient(self._take, is_secret=is_secret)
        self._prefix = f"{self._client.new_inbox()}."
        self._numbers = count()
        self._takes: dict[bytes, _Take] = {}  # by the subject of the answer
        self._waiting: set[asyncio.Future[Any]] = set()

    async def open(self, login: Login, timeout: float) -> None:
        """Connect.

        Args:
            login: who asks.
            timeout: seconds.

        Raises:
            Exception: whatever the library raises if it cannot, TimeoutError among it.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._connect(login, timeout)
        except BaseException:
            self.gone.set()
            await self._end()
            raise

    async def _connect(self, login: Login, timeout: float) -> None:
        await self._client.connect(
            [self.server],
            name="eskernel",
            error_cb=self._note,
            allow_reconnect=False,
            max_reconnect_attempts=1,  # for the first connection, too
            reconnect_time_wait=0.01,  # type: ignore[arg-type] # seconds, in truth a float
            connect_timeout=timeout,  # type: ignore[arg-type]
            ping_interval=_PING_INTERVAL,  # type: ignore[arg-type]
            pending_size=_BUFFER,
            user=login.user,
            password=login.password,
            token=login.token,
            user_credentials=login.credentials,
            tls=login.tls,
        )
        self._client.on_end(self._lose)
        self._client.prefix = self._prefix.encode()
        await self._client.subscribe(f"{self._prefix}*")

    @property
    def max_payload(self) -> int:
        """Bytes of headers and payload the server takes in one message."""
        return self._client.max_payload

    @property
    def servers(self) -> list[str]:
        """The URLs of the servers this one knows of."""
        return [f"{one.scheme}://{one.netloc}" for one in self._client.servers]

    async def send(
        self, subject: str, payload: bytes, headers: Mapping[str, str] | None = None
    ) -> None:
        """Hand a message to the system, in order with others; raises Lost if that is too late."""
        await self._publish(subject, payload, "", headers)

    async def request(
        self,
        subject: str,
        payload: bytes,
        timeout: float,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send a message and return the answer.

        Raises:
            Lost: the connection ended first, whether or not the message had arrived.
            TimeoutError: no answer came within so many seconds.
        """
        answered: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

        def take(headers: bytes, payload: bytes) -> None:
            if not answered.done():
                answered.set_result(Reply(headers, payload))

        reply = self._expect(take, answered)
        try:
            await self._publish(subject, payload, reply, headers)
            async with asyncio.timeout(timeout):
                return await answered
        finally:
            self._forget(reply, answered)

    async def collect(
        self, subject: str, payload: bytes, patience: float
    ) -> tuple[list[RawReply], Reply]:
        """Send a message, and return its answers and the server's own that ends them.

        Args:
            subject: where to.
            payload: of the message.
            patience: seconds to wait for each.

        Raises:
            Lost, TimeoutError: as `request`.
        """
        answered: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        replies: list[RawReply] = []

        def take(headers: bytes, payload: bytes) -> None:
            if not is_status(headers):
                replies.append((headers, payload))
            elif not answered.done():
                answered.set_result(Reply(headers, payload))

        reply = self._expect(take, answered)
        try:
            await self._publish(subject, payload, reply, None)
            before = -1
            while not answered.done():
                if len(replies) == before:
                    raise TimeoutError
                before = len(replies)
                await asyncio.wait((answered,), timeout=patience)
            return replies, answered.result()
        finally:
            self._forget(reply, answered)

    async def subscribe(self, subject: str, tell: Callable[[], None]) -> None:
        """Have a function called whenever a message comes, as long as the connection stands."""

        async def take(_message: Any) -> None:
            tell()

        try:
            await self._client.subscribe(subject, cb=take)
        except Exception as error:
            raise Lost(repr(error)) from error

    async def close(self) -> None:
        """End the connection; what waits for answers raises Lost."""
        self._lose()
        await self._end()

    async def _publish(
        self, subject: str, payload: bytes, reply: str, headers: Mapping[str, str] | None
    ) -> None:
        # Nothing in here waits for anything: messages of one caller leave in order, and no other
        # connection's state is met halfway.
        if self.gone.is_set():
            raise Lost("the connection was lost")
        try:
            await self._client.publish(subject, payload, reply, headers)  # type: ignore[arg-type]
        except Exception as error:
            raise Lost(repr(error)) from error

    def _expect(self, take: _Take, answered: asyncio.Future[Any]) -> str:
        reply = f"{self._prefix}{next(self._numbers)}"
        self._takes[reply.encode()] = take
        self._waiting.add(answered)
        return reply

    def _forget(self, reply: str, answered: asyncio.Future[Any]) -> None:
        del self._takes[reply.encode()]
        self._waiting.discard(answered)
        if not answered.cancel() and not answered.cancelled():
            answered.exception()  # it has been looked at

    def _take(self, subject: bytes, headers: bytes, payload: bytes) -> None:
        take = self._takes.get(subject)
        if take is not None:
            take(headers, payload)

    def _lose(self) -> None:
        self.gone.set()
        for answered in self._waiting:
            if not answered.done():
                answered.set_exception(Lost("the connection was lost"))

    async def _note(self, error: Exception) -> None:
        if isinstance(error, ConnectionResetError):  # tells less than what came before
            self.hung_up = True
        else:
            self.problem = str(error) or repr(error)

    async def _end(self) -> None:
        """Free what the library holds; a server that does not read cannot delay it for long."""
        with suppress(Exception):
            async with asyncio.timeout(_CLOSING):
                await self._client.close()
        self._client.abort()
