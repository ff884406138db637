"""See eskernel on a Ray cluster that loses a node at work: `make demo-ray`.

Options are priced, about a millisecond of Python each, by one kernel and by a RayKernel on two
nodes. Then one node is killed while sixteen callers have quotes made and stored in SQLite; Ray
restarts its shards on the other, and in the end every quote that a caller was told of is in the
store, once. Every step checks what it shows, and the first that is not as it should be ends the
demo with exit status 1. `demo_ray_cluster` is the cluster, which is all on this machine.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import demo_quotes_steps as steps
from demo_checks import check, wait_until
from demo_quotes import Quoting
from demo_ray_cluster import RayCluster, ray_cluster
from demo_screen import fact, heading

from eskernel.ray import RayKernel

NODES, SHARDS = 2, 4


def main() -> int:
    """Run the steps; return the exit status."""
    about = f"eskernel on a Ray cluster: {SHARDS} shards on {NODES} nodes, one of them killed"
    return steps.run(about, show)


def show(url: str) -> None:
    """Take the steps, with a store at this URL."""
    here = steps.price_here()
    heading("Start a Ray cluster")
    with ray_cluster() as cluster:
        nodes = cluster.add_nodes(NODES)
        fact("nodes", [node[:8] for node in nodes])
        # Two machines would be twice as fast. Here both, and Ray itself, share these cores.
        heading(f"Price them again in {SHARDS} shards on {NODES} nodes, which share this machine")
        with shards_of("timed", "memory:") as kernel:
            check("nodes with shards", len(shards_by_node(kernel)), NODES)
            steps.price_there(kernel, here)
        heading("Have the shards keep quotes in SQLite")
        with shards_of("kept", url) as kernel:
            fact("events go to", url)
            quoting = Quoting(kernel)
            steps.wait_for_some(quoting)
            kill_a_node(cluster, kernel, nodes[0])
            steps.wait_for_some(quoting)
            steps.show_restarted(kernel)
            books = steps.stop_quoting(kernel, quoting)
    steps.count_stored(url, quoting, books)


@contextmanager
def shards_of(name: str, url: str) -> Iterator[RayKernel]:
    """Run shards of a name, which end with the kernel."""
    new_kernel = partial(RayKernel, steps.DOMAINS, shards=SHARDS, dispatch_timeout=steps.TIMEOUT)
    with new_kernel(url, name=name) as kernel:
        try:
            yield kernel
        finally:
            kernel.end_shards()


def kill_a_node(cluster: RayCluster, kernel: RayKernel, node: str) -> None:
    heading("Kill a node in the middle of its work")
    lost = shards_by_node(kernel)[node]
    cluster.remove(node)
    fact("killed", f"node {node[:8]}, with {lost} shards")
    moved = "its shards run elsewhere"
    wait_until(moved, lambda: runs_without(kernel, node), steps.TIMEOUT)
    fact("shards on each node now", [*shards_by_node(kernel).values()])


def runs_without(kernel: RayKernel, node: str) -> bool:
    """Return whether every shard runs, and on another node."""
    return {None, node}.isdisjoint(kernel.shard_nodes())


def shards_by_node(kernel: RayKernel) -> Counter[str | None]:
    """Return how many shards each node has."""
    return Counter(kernel.shard_nodes())


if __name__ == "__main__":
    sys.exit(main())
