"""The network between the nodes of a cluster: TCP proxies, which can cut a node off from the rest.

They run in a process of their own, which ends with the one that started it: `nats_cluster` starts
this file with the links as JSON, writes which nodes are cut off to its input, line by line, and
reads a line when that is done.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from typing import Any, NamedTuple


class Link(NamedTuple):
    """How one node reaches another.

    Attributes:
        source: number of the node that connects.
        target: number of the node that is reached.
        port: where the source finds the proxy, on 127.0.0.1.
        behind: where the target listens.
    """

    source: int
    target: int
    port: int
    behind: int


class Network:
    """The links between some nodes, in a process of their own.

    Args:
        links: all of them.

    Attributes:
        pid: process id of theirs.
    """

    def __init__(self, links: list[Link]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, json.dumps(links)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._read()

    def cut_off(self, nodes: set[int]) -> None:
        """Cut these nodes off, and no others: their links are closed and refuse new connections."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{json.dumps(sorted(nodes))}\n")
        self._process.stdin.flush()
        self._read()

    def close(self) -> None:
        """End all links."""
        self._process.communicate()

    def _read(self) -> None:
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise RuntimeError(f"the links ended with status {self._process.wait()}")


class _Pipe(asyncio.Protocol):
    """One end of a connection through a link; what comes in goes out at the other."""

    def __init__(self, cutter: _Cutter, link: Link, other: _Pipe | None = None) -> None:
        self._cutter, self._link, self._other = cutter, link, other
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        left_alone = self._other is not None and self._other.transport.is_closing()
        if left_alone or self._cutter.cuts(self._link):
            transport.abort()
            return
        self._cutter.pipes.add(self)
        if self._other is None:
            transport.pause_reading()
            self._connecting = asyncio.ensure_future(self._connect())
        else:
            self._other.transport.resume_reading()

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, self._other = await loop.create_connection(
                lambda: _Pipe(self._cutter, self._link, self), "127.0.0.1", self._link.behind
            )
        except OSError:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._other is not None:
            self._other.transport.write(data)

    def pause_writing(self) -> None:
        if self._other is not None:
            self._other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._other is not None:
            self._other.transport.resume_reading()

    def connection_lost(self, _error: Exception | None) -> None:
        self._cutter.pipes.discard(self)
        if self._other is not None:
            self._other.transport.close()

    def cut(self) -> None:
        """End the connection if one of its nodes is cut off."""
        if self._cutter.cuts(self._link):
            self.transport.abort()


class _Cutter:
    """Which nodes are cut off, and every connection there is."""

    def __init__(self) -> None:
        self.off: set[int] = set()
        self.pipes: set[_Pipe] = set()

    def cuts(self, link: Link) -> bool:
        """Return whether one of a link's nodes is cut off."""
        return link.source in self.off or link.target in self.off

    async def run(self, links: list[Link]) -> None:
        loop = asyncio.get_running_loop()
        for link in links:
            await loop.create_server(lambda link=link: _Pipe(self, link), "127.0.0.1", link.port)
        _say_done()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            self.off = set(json.loads(line))
            for pipe in list(self.pipes):
                pipe.cut()
            await asyncio.sleep(0)  # the ends of connections go out
            _say_done()


def _say_done() -> None:
    sys.stdout.write("done\n")
    sys.stdout.flush()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_Cutter().run([Link(*link) for link in json.loads(sys.argv[1])]))
