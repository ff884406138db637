"""Channel: frames between two processes over a socket that nobody else can reach.

The socket is one of a pair without a name; the other one was inherited by the process at the other
end. Framing and the mutual challenge, which shows that it is that process, are those of
`multiprocessing.connection`; its pickling is not used.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from typing import Final

from eskernel.remote.wakeup import Wakeup
from eskernel.remote.wire import MAX_PARTS, frame_of

_PAUSE: Final = 2e-4  # seconds
"""What the sender waits for others to come along, if they did the last time: 64 callers then make
one frame where they would make many. Measured: 1.07 times their rate. One caller never waits."""
KEY_BYTES: Final = 32
"""Of the secret that both ends have."""

Take = Callable[[int], list[bytes]]
"""Returns at most so many parts to be sent; empty when there are none."""


class Channel:
    """One end; `receive` is one thread's business, everything else anybody's.

    Args:
        own: the socket; the channel closes it.

    Attributes:
        tell: has the sender look.
    """

    def __init__(self, own: socket.socket) -> None:
        self._socket = own
        self._connection = Connection(os.dup(own.fileno()))
        self._wakeup = Wakeup()
        self.tell = self._wakeup.tell
        self._sender: threading.Thread | None = None
        self._take: Take = lambda _: []
        self._several = False  # whether the last frame had more than one part
        # Held while parts are taken and sent: frames do not mix, and parts leave in order.
        self._sending = threading.Lock()
        # Held while a direction is ended or descriptors are closed, each once.
        self._closing = threading.Lock()
        self._closed = False

    def authenticate(self, key: bytes, *, first: bool) -> None:
        """Have the other end prove that it has the key, and prove it in turn.

        Args:
            key: the shared secret.
            first: whether this end challenges first; the other end does not.

        Raises:
            multiprocessing.AuthenticationError: it has another.
            EOFError, OSError: it is gone.
        """
        steps = (deliver_challenge, answer_challenge)
        for step in steps if first else reversed(steps):
            step(self._connection, key)

    def send(self, frame: bytes) -> None:
        """Send a frame; only before `start_sending`. Raises OSError if the other end is gone."""
        self._connection.send_bytes(frame)

    def receive(self) -> bytes:
        """Return the next frame; raises EOFError or OSError if the other end is gone."""
        return self._connection.recv_bytes()

    def start_sending(self, take: Take, name: str) -> None:
        """Have a thread send what it takes, whenever it is told to look.

        Args:
            take: where the parts come from; called by one thread at a time.
            name: of the thread.
        """
        self._take = take
        sender = threading.Thread(target=self._send_when_told, name=name, daemon=True)
        sender.start()
        self._sender = sender

    def flush(self) -> None:
        """Send what there is on the calling thread, which nothing may interrupt half way."""
        try:
            with self._sending:
                while parts := self._take(MAX_PARTS):
                    self._several = len(parts) > 1
                    self._connection.send_bytes(frame_of(parts))
        except OSError:
            self.close()  # the receiver sees to the rest

    def finish(self, timeout: float | None = None) -> None:
        """Send what there is, and then no more; the other end sees the end of it.

        Args:
            timeout: seconds that may take; None for as long as the other end lives.
        """
        self._wakeup.tell()
        self._wakeup.end()
        if self._sender is not None:
            self._sender.join(timeout)
        with self._closing, suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """End both directions; whoever receives or sends gets EOFError or OSError."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
            with suppress(OSError):  # the other end may be gone
                self._socket.shutdown(socket.SHUT_RDWR)
        self._wakeup.end()

    def dispose(self) -> None:
        """Close the descriptors, once no thread uses them any more; ends the sender."""
        self.close()
        if self._sender is not None and self._sender is not threading.current_thread():
            self._sender.join()
        with self._closing:
            self._socket.close()
            self._connection.close()

    def abandon(self) -> None:
        """Close the descriptors in a forked child, without a word to the other end."""
        self._socket.close()
        self._connection.close()

    def _send_when_told(self) -> None:
        while self._wakeup.wait():
            if self._several:
                time.sleep(_PAUSE)
            self._wakeup.looks()
            self.flush()
