"""Wires: keeps one wire to some server standing, and replaces it when it is lost or of no help."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from eskernel.errors import StoreUnavailable
from eskernel_stores.jetstream.connecting.address import Login
from eskernel_stores.jetstream.connecting.wire import Lost, Wire

_CONNECT: Final = 2.0  # seconds to wait for one server
_PAUSE: Final = 0.1  # seconds between two tries of all servers
_USELESS: Final = 2.0  # seconds without a single good answer after which another server is tried


class Wires:
    """One wire at a time, to any of the servers; for the thread of the loop it was opened on.

    Args:
        servers: URLs; what they know of other servers is believed.
        login: for all of them.
        timeout: seconds to wait for a connection before giving up.
    """

    def __init__(self, servers: Sequence[str], login: Login, timeout: float) -> None:
        self._servers = [*servers]  # the next to try is the first
        self._login = login
        self._timeout = timeout
        self._wire: Wire | None = None
        self._stands = asyncio.Event()  # set while there is a wire
        self._stands_since = 0.0  # the wire, by the loop's clock
        self._problem = ""  # why there is no wire, in words
        self._useless_since: float | None = None  # of this wire; None after a good answer
        self._task: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()  # old wires, for the loop keeps them weakly
        self._heard: tuple[str, Callable[[], None]] | None = None
        self.max_payload = 1 << 20

    def start(self) -> None:
        """Begin to connect."""
        self._task = asyncio.get_running_loop().create_task(self._keep())

    async def get(self, deadline: float) -> Wire:
        """Return the wire.

        Args:
            deadline: until when to wait for one, by the loop's clock.

        Raises:
            StoreUnavailable: there is none.
        """
        while (wire := self._wire) is None or wire.gone.is_set():
            try:
                async with asyncio.timeout_at(deadline):
                    await self._changed()
            except TimeoutError:
                raise StoreUnavailable(
                    f"no NATS server could be reached within {self._timeout} seconds: "
                    f"{self._problem or 'none has answered'}; nothing was stored, try again"
                ) from None
        return wire

    def note_answer(self, wire: Wire) -> None:
        """Note that a server is of use."""
        if wire is self._wire:
            self._useless_since = None

    def note_silence(self, wire: Wire, since: float) -> None:
        """Note that a server did not answer, or found nobody who would; leave it if that lasts.

        Args:
            wire: to the server.
            since: when it was asked, by the loop's clock.
        """
        if wire is not self._wire or wire.gone.is_set():
            return
        if self._useless_since is None:
            self._useless_since = since
        if asyncio.get_running_loop().time() - self._useless_since >= _USELESS:
            self._drop(wire)

    def leave(self, since: float) -> None:
        """Go to another server, if the wire has stood since a time of the loop's clock."""
        if self._wire is not None and self._stands_since <= since:
            self._drop(self._wire)

    async def hear(self, subject: str, tell: Callable[[], None]) -> None:
        """Have a function called after messages, and when a new wire may have missed some.

        There is one such function; asked for again, nothing changes.
        """
        if self._heard is None:
            self._heard = (subject, tell)
            await self._listen()

    async def tell(self, subject: str) -> None:
        """Send an empty message, if there is a wire."""
        if self._wire is not None:
            with suppress(Lost):
                await self._wire.send(subject, b"")

    async def close(self) -> None:
        """Connect no more, and end the wire once what was sent has left."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        if self._wire is not None:
            self._drop(self._wire)
        if self._closing:
            await asyncio.wait(self._closing)

    async def _changed(self) -> None:
        """Wait until there may be another wire."""
        if self._wire is not None:  # it is gone, which its keeper has yet to notice
            self._stands.clear()
        await self._stands.wait()

    async def _keep(self) -> None:
        while True:
            wire = await self._connect()
            self._useless_since = None
            self._stands_since = asyncio.get_running_loop().time()
            self._wire = wire
            self.max_payload = wire.max_payload
            self._learn(wire)
            self._stands.set()
            await self._listen()
            await wire.gone.wait()
            self._stands.clear()
            self._wire = None
            self._problem = wire.problem or "the connection was lost"
            self._drop(wire)

    async def _connect(self) -> Wire:
        """Return a wire to the first server that can be reached, however long it takes."""
        while True:
            for server in [*self._servers]:
                self._servers.append(self._servers.pop(0))
                wire = Wire(server, is_secret=self._login.is_secret)
                try:
                    await wire.open(self._login, _CONNECT)
                except Exception as error:  # noqa: BLE001 - whatever it is, there are others
                    self._note(wire, error)
                else:
                    return wire
            await asyncio.sleep(_PAUSE)

    def _note(self, wire: Wire, error: Exception) -> None:
        """Remember why there is no wire; what a server has said tells more than that it hung up."""
        if wire.problem or not (wire.hung_up or isinstance(error, ConnectionResetError)):
            self._problem = f"{wire.server}: {wire.problem or repr(error)}"
        elif not self._problem:
            self._problem = f"{wire.server} hung up, as on a wrong user, password or token"

    def _learn(self, wire: Wire) -> None:
        """Remember the servers that this one knows of."""
        self._servers += [server for server in wire.servers if server not in self._servers]

    async def _listen(self) -> None:
        """Have the wire hear what is to be heard, and tell what was missed before."""
        if self._heard is not None and self._wire is not None:
            subject, tell = self._heard
            with suppress(Lost):  # the next wire will hear
                await self._wire.subscribe(subject, tell)
            tell()

    def _drop(self, wire: Wire) -> None:
        closing = asyncio.get_running_loop().create_task(wire.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
