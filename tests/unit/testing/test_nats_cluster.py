"""The tests' own NATS cluster: killed, cut off, healed, and gone with whoever started it."""

import asyncio
import os
import signal
import subprocess
import sys

import nats as client
import psutil
from nats_cluster import NatsCluster
from nats_servers import events_of
from support import eventually, is_alive


async def connected(urls, function):
    """Return what a function makes of a client's JetStream."""
    connection = await client.connect(urls, connect_timeout=5)
    try:
        return await function(connection.jetstream(timeout=5))
    finally:
        await connection.close()


def create(cluster, name):
    """Create a stream of one message, with a replica on each node."""

    async def add(jetstream):
        await jetstream.add_stream(name=name, subjects=[f"{name}.>"], num_replicas=3)
        await jetstream.publish(f"{name}.a", b"kept")

    asyncio.run(connected(cluster.servers(), add))


def publish(cluster, name):
    """Add a message to a stream and return its sequence."""

    async def add(jetstream):
        return (await jetstream.publish(f"{name}.a", b"more")).seq

    return asyncio.run(connected(cluster.servers(), add))


def count(cluster, name, number=None):
    """Return how many messages there are in a stream, maybe as asked through one node."""

    async def ask(jetstream):
        return (await jetstream.stream_info(name)).state.messages

    servers = cluster.servers()
    return asyncio.run(connected(servers if number is None else [servers[number]], ask))


def names(cluster):
    """Return the names of all streams."""

    async def ask(jetstream):
        return {stream.config.name for stream in await jetstream.streams_info()}

    return asyncio.run(connected(cluster.servers(), ask))


def test_dropping_deletes_the_streams_of_the_stores_made_and_no_others(nats):
    one, other = nats.new_url(), nats.new_url()
    mine, left = events_of(one), events_of(other)
    create(nats, mine)
    create(nats, left)
    nats.drop(one)
    assert names(nats) & {mine, left} == {left}
    nats.drop(other)
    assert left not in names(nats)


def test_a_killed_node_comes_back_with_what_it_missed(nats_to_kill, nats_url):
    name = events_of(nats_url)
    create(nats_to_kill, name)
    killed = (nats_to_kill.leader_of(name) + 1) % 3
    nats_to_kill.kill(killed)
    assert publish(nats_to_kill, name) == 2
    nats_to_kill.restart(killed)
    nats_to_kill.wait_until_healthy()
    assert count(nats_to_kill, name, killed) == 2


def test_a_node_cut_off_has_no_links_until_it_is_healed(nats_to_kill):
    nats_to_kill.cut_off(2)
    eventually(lambda: [node.routes() for node in nats_to_kill.nodes] == [1, 1, 0])
    nats_to_kill.heal(2)
    nats_to_kill.wait_until_healthy()
    assert [node.routes() for node in nats_to_kill.nodes] == [2, 2, 2]


STARTER = """
import sys
sys.path[:] = {path!r}
from nats_cluster import NatsCluster
cluster = NatsCluster().start()
print(cluster.folder, *[node.pid for node in cluster.nodes], cluster.network_pid, flush=True)
sys.stdin.read()
"""


def test_it_ends_with_a_killed_owner_and_leaves_nothing():
    program = STARTER.format(path=sys.path)
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        folder, *pids = owner.stdout.readline().split()
        processes = [psutil.Process(int(pid)) for pid in pids]
        assert len(processes) == 4
        assert all(is_alive(process) for process in processes)
        owner.send_signal(signal.SIGKILL)
    eventually(lambda: not any(is_alive(process) for process in processes), timeout=20)
    eventually(lambda: not os.path.exists(folder), timeout=20)


def test_a_cluster_without_links_works_too():
    cluster = NatsCluster(linked=False)
    try:
        create(cluster.start(), "apart")
        assert count(cluster, "apart") == 1
    finally:
        cluster.close()
    assert not cluster.folder.exists()
