"""What can happen to a NATS cluster under a store, as outages for the crash kit."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nats_cluster import NatsCluster
from nats_servers import events_of

WAYS = ("killed leader", "leader cut off", "leader standing still", "all killed")


def outage_of(cluster: NatsCluster, url: str, way: str) -> Callable[[], None]:
    """Return what has a store's servers fail in one of the `WAYS` and brings them back.

    Args:
        cluster: where the store is.
        url: of the store, from `cluster.new_url()`.
        way: it fails.
    """
    stream = events_of(url)
    down = {
        "killed leader": _killed_leader,
        "leader cut off": _leader_cut_off,
        "leader standing still": _leader_standing_still,
        "all killed": _all_killed,
    }[way]

    def outage() -> None:
        with down(cluster, stream):
            time.sleep(random.random() * 0.1)  # for calls that meet it
        cluster.wait_until_healthy()

    return outage


@contextmanager
def _killed_leader(cluster: NatsCluster, stream: str) -> Iterator[None]:
    leader = cluster.leader_of(stream)
    cluster.kill(leader)
    yield
    cluster.restart(leader)


@contextmanager
def _leader_cut_off(cluster: NatsCluster, stream: str) -> Iterator[None]:
    """Cut off the leader until the others have another."""
    leader = cluster.leader_of(stream)
    cluster.cut_off(leader)
    cluster.wait_for_another_leader(stream, leader)
    yield
    cluster.heal(leader)


@contextmanager
def _leader_standing_still(cluster: NatsCluster, stream: str) -> Iterator[None]:
    """Pause the leader until the others have another."""
    leader = cluster.leader_of(stream)
    cluster.pause(leader)
    cluster.wait_for_another_leader(stream, leader)
    yield
    cluster.resume(leader)


@contextmanager
def _all_killed(cluster: NatsCluster, _: str) -> Iterator[None]:
    cluster.kill_all()
    yield
    cluster.start()
