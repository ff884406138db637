"""The Ray cluster of the demo: processes of this machine that take each other for machines."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

import ray
from ray.cluster_utils import Cluster

_SMALL = {"object_store_memory": 80 * 2**20}
_SOON = {  # a node that is silent for two seconds is dead
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 500,
    "health_check_failure_threshold": 3,
}
_PATIENCE = 60.0  # seconds
_LOOK_AGAIN = 0.1  # seconds


class RayCluster:
    """A head, which runs no shards, and nodes with one core each.

    Args:
        folder: where Ray keeps what it writes.
    """

    def __init__(self, folder: str) -> None:
        head = {"num_cpus": 0, "include_dashboard": False, "temp_dir": folder, **_SMALL}
        self._cluster = Cluster(True, head_node_args={**head, "_system_config": _SOON})
        self._nodes: list[Any] = []

    def connect(self) -> None:
        """Have this process use it."""
        ray.init(self._cluster.address, log_to_driver=False, configure_logging=False)

    def add_nodes(self, count: int) -> list[str]:
        """Start nodes, wait until the cluster has them, and return their ids."""
        new = [self._cluster.add_node(num_cpus=1, **_SMALL) for _ in range(count)]
        self._nodes += new
        deadline = time.monotonic() + _PATIENCE
        ids = [node.node_id for node in new]
        while not {*ids} <= {node["NodeID"] for node in ray.nodes() if node["Alive"]}:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the nodes are not there within {_PATIENCE:g} seconds")
            time.sleep(_LOOK_AGAIN)
        return ids

    def remove(self, node_id: str) -> None:
        """Kill the processes of a node, with all that runs there."""
        (node,) = [node for node in self._nodes if node.node_id == node_id]
        self._nodes.remove(node)
        self._cluster.remove_node(node, allow_graceful=False)

    def close(self) -> None:
        """End all of it."""
        ray.shutdown()
        self._cluster.shutdown()


@contextmanager
def ray_cluster() -> Iterator[RayCluster]:
    """Lend a cluster that only this process and its nodes can talk to."""
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Ray prints the last words of a dead node, whatever its options; the demo tells of it itself.
    ray._private.worker.print_to_stdstream = lambda *_, **__: None  # noqa: SLF001
    with TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        cluster = RayCluster(folder)
        try:
            cluster.connect()
            yield cluster
        finally:
            cluster.close()
