"""A proxy before a server that cuts connections at chosen moments."""

from __future__ import annotations

import select
import socket
import threading
from contextlib import suppress


class CuttingProxy:
    """Passes bytes between clients and a server, until a rule says otherwise.

    A rule is `(needle, forwarded)`: the next time a client sends the needle, the connection is cut,
    if `forwarded`, after the server has done what was asked and before its answer is passed on.

    Attributes:
        port: where it listens, on 127.0.0.1.
        rules: used up one by one, in order.
        refusing: whether new connections are cut at once.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.rules: list[tuple[bytes, bool]] = []
        self.refusing = False
        self._threads: list[threading.Thread] = []
        self._over = threading.Event()
        self._start(self._accept)

    def _start(self, target, *arguments) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._over.is_set():
            if select.select([self._server], [], [], 0.05)[0]:
                client, _ = self._server.accept()
                if self.refusing:
                    client.close()
                else:
                    self._start(self._pass_on, client)

    def _pass_on(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._target) as server, suppress(OSError):
            while not self._over.is_set():
                readable = select.select([client, server], [], [], 0.05)[0]
                if client in readable:
                    data = client.recv(1 << 20)
                    if not data or self._is_cut(data, server):
                        return
                if server in readable:
                    data = server.recv(1 << 20)
                    if not data:
                        return
                    client.sendall(data)

    def _is_cut(self, data: bytes, server: socket.socket) -> bool:
        cut = bool(self.rules) and self.rules[0][0] in data
        forwarded = not cut or self.rules.pop(0)[1]
        if forwarded:
            server.sendall(data)
        if cut and forwarded:
            server.recv(1 << 20)
        return cut

    def close(self) -> None:
        """End every connection."""
        self._over.set()
        for thread in self._threads:
            thread.join(10)
        self._server.close()
