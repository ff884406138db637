"""Hints: messages that nobody keeps, saying that something was appended."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from functools import partial
from typing import Final

from eskernel.errors import StoreUnavailable
from eskernel_stores.hints import HintListeners, do_nothing
from eskernel_stores.jetstream.connecting.portal import Portal
from eskernel_stores.jetstream.connecting.wires import Wires

INTERVAL: Final = 0.01
"""Seconds between two messages: all that is appended meanwhile shares one."""


class Hints:
    """Sends and receives the hints of one store.

    Args:
        portal: to the loop of the wires.
        wires: to the servers.
        name: of the store.
    """

    def __init__(self, portal: Portal, wires: Wires, name: str) -> None:
        self._portal = portal
        self._wires = wires
        self._subject = f"{name}.hints"
        self._tells = HintListeners()
        self._pid = os.getpid()  # in a forked child a lock may be held by a thread that is not
        # Both are the loop's thread's alone.
        self._appended = False  # since the last message was sent
        self._sending: asyncio.Task[None] | None = None  # there is one if `_appended`

    def appended(self) -> None:
        """Have a message sent soon; on the loop's thread. Costs nearly nothing, and never fails."""
        self._appended = True
        if self._sending is None:
            self._sending = asyncio.get_running_loop().create_task(self._send())

    def on_append(self, tell: Callable[[], None]) -> Callable[[], None]:
        """Have a function called after appends; see `HintingEventStore.on_append`.

        It is called on the loop's thread. After `close`, and in a forked child, it never is.
        """
        if os.getpid() != self._pid:
            return do_nothing
        ticket = self._tells.add(tell)
        try:
            self._portal.run(self._wires.hear, self._subject, self._tells.tell)
        except StoreUnavailable:  # the store is closed
            self._tells.remove(ticket)
        return partial(self._forget, ticket)

    def close(self) -> None:
        """Tell nobody any more."""
        if os.getpid() == self._pid:
            self._tells.clear()

    async def flush(self) -> None:
        """Send what is due; on the loop's thread."""
        if self._appended:
            self._appended = False
            await self._wires.tell(self._subject)

    async def _send(self) -> None:
        while self._appended:
            await self.flush()
            await asyncio.sleep(INTERVAL)
        self._sending = None

    def _forget(self, ticket: object) -> None:
        if os.getpid() == self._pid:
            self._tells.remove(ticket)
