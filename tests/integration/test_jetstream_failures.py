"""Nodes of a NATS cluster fail: what callers are told, and that service goes on by itself."""

from contextlib import closing

import pytest
from kernel_helpers import attempt
from kernel_load import Load
from nats_servers import events_of
from store_helpers import STREAM, append, every_call_unavailable, made, payloads, unavailable
from support import eventually

from eskernel_stores.jetstream import JetStreamStore


@pytest.fixture
def cluster(nats_to_kill):
    return nats_to_kill


@pytest.fixture
def store(cluster, nats_url):
    """A store connected to the node that leads its events."""
    with closing(JetStreamStore(nats_url)) as first:
        first.last_position()
    through = cluster.url_through(cluster.leader_of(events_of(nats_url)), nats_url)
    with closing(JetStreamStore(through)) as store:
        yield store


@pytest.fixture
def load(start, store, nats_url):
    """A load on a kernel with that store."""
    load = Load(start())
    with load:
        yield load
    with closing(JetStreamStore(nats_url)) as other:
        load.check(store, other)


def test_each_node_may_be_killed_in_turn(load, cluster, nats_url):
    leader = cluster.leader_of(events_of(nats_url))
    for node in ((leader + 1) % 3, (leader + 2) % 3, leader):
        cluster.kill(node)
        load.go_on()
        cluster.restart(node)
        cluster.wait_until_replicated(events_of(nats_url))
        load.go_on()


def test_a_leader_that_is_cut_off_is_left_by_its_clients(load, cluster, nats_url):
    leader = cluster.leader_of(events_of(nats_url))
    with closing(JetStreamStore(cluster.url_through(leader, nats_url), timeout=3)) as idle:
        append(idle, STREAM, "before")
        cluster.cut_off(leader)
        load.go_on()
        # From now on it answers that it can do nothing, which is no answer either.
        cut_off = cluster.nodes[leader]
        eventually(lambda: cut_off.meta_leader() is None, timeout=30)
        eventually(lambda: cut_off.replicas(events_of(nats_url)) is None, timeout=30)
        eventually(lambda: attempt(payloads, idle) == ["before"], timeout=20)
        append(idle, STREAM, "after")
        assert payloads(idle) == ["before", "after"]
    cluster.heal(leader)
    cluster.wait_until_replicated(events_of(nats_url))
    load.go_on()


def test_a_leader_that_stands_still_is_left_by_its_clients(load, cluster, nats_url):
    leader = cluster.leader_of(events_of(nats_url))
    cluster.pause(leader)
    load.go_on()
    cluster.resume(leader)
    cluster.wait_until_replicated(events_of(nats_url))
    load.go_on()


def test_nothing_is_lost_when_all_nodes_are_killed_at_once(load, cluster, nats_url):
    with closing(JetStreamStore(nats_url, timeout=0.3)) as impatient:
        append(impatient, STREAM, "before")
        cluster.kill_all()
        eventually(lambda: not unavailable(payloads, impatient).outcome_unknown)
        for error in every_call_unavailable(impatient, 1):
            assert not error.outcome_unknown
            assert "NATS" in str(error)
        eventually(lambda: load.errors, timeout=20)
        cluster.start()
        load.go_on()
        assert append(impatient, STREAM, "after")
        assert payloads(impatient) == ["before", "after"]


def test_without_a_majority_nothing_is_acknowledged(store, cluster, nats_url):
    leader = cluster.leader_of(events_of(nats_url))
    others = [(leader + 1) % 3, (leader + 2) % 3]
    for node in others:
        cluster.kill(node)
    error = unavailable(
        store.append, STREAM, made(STREAM, 0, "x"), expected_sequence=0, append_id=7
    )
    for node in others:
        cluster.restart(node)
    cluster.wait_until_healthy()
    if not error.outcome_unknown:
        assert payloads(store) == []
    again = store.append(STREAM, made(STREAM, 0, "x"), expected_sequence=0, append_id=7)
    assert again == store.last_position()
    assert payloads(store) == ["x"]
