"""Cluster: what there is to know of a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterable

import ray

from eskernel.remote.setup import Setup


def check_reach(setup: Setup, addresses: Iterable[str]) -> None:
    """Raise ValueError if a store is of one machine, and the nodes are of several."""
    machines = sorted(set(addresses))
    if len(machines) > 1 and any(url.startswith("sqlite:") for url in setup.urls()):
        raise ValueError(
            f"an sqlite: store is for one machine, and the cluster has {', '.join(machines)}; "
            "use a server, such as PostgreSQL"
        )


def nodes() -> dict[str, str]:
    """Return the ids and addresses of the live nodes that offer CPUs."""
    return {
        node["NodeID"]: node["NodeManagerAddress"]
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("CPU")
    }
