"""Service: what all parts of a store ask the servers through, from opening to closing."""

from __future__ import annotations

from eskernel_stores.jetstream.connecting.address import Address, Login
from eskernel_stores.jetstream.connecting.connection import Connection
from eskernel_stores.jetstream.connecting.portal import Portal
from eskernel_stores.jetstream.connecting.wires import Wires
from eskernel_stores.jetstream.hints import Hints
from eskernel_stores.jetstream.streams import make_streams


class Service:
    """A connection, its loop, and the streams of a store, which are made if they do not exist.

    Args:
        address: of the servers and the store.
        login: for the servers.
        timeout: seconds in which each request is done or has failed.

    Attributes:
        portal: to the loop.
        connection: to the servers.
        hints: of appends.
        name: of the store.
        timeout: as it was given.

    Raises:
        StoreUnavailable: no server can be reached, or the streams cannot be made.
    """

    def __init__(self, address: Address, login: Login, timeout: float) -> None:
        self.name = address.name
        self.timeout = timeout
        self.portal = Portal()
        self._wires = Wires(address.servers, login, timeout)
        self.connection = Connection(self._wires, timeout)
        self.hints = Hints(self.portal, self._wires, address.name)
        try:
            self.portal.run(self._open, address.replicas)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the connection; in a forked child do nothing, for it is the parent's."""
        self.hints.close()
        self.portal.close(self._farewell)

    async def _open(self, replicas: int) -> None:
        self._wires.start()
        await make_streams(self.connection, self.name, replicas, self.timeout)

    async def _farewell(self) -> None:
        await self.hints.flush()
        await self._wires.close()
