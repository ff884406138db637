"""RayKernel on a cluster of two nodes, and what nodes that go and come mean for commands."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import tempfile
import threading
from collections import Counter
from contextlib import contextmanager
from typing import Any

import process_ledger
import pytest
import remote_counting
import remote_domain
from process_helpers import PATHS, TYPE, Load, note
from support import eventually, new_seed
from test_readme import of_language, run

from domains import bank_account
from eskernel import Command
from eskernel.errors import CommandRejected, KernelStopped, StoreUnavailable, UnknownProjection

pytest.importorskip("ray", reason="ray has no wheel for this Python")

import ray
from ray.cluster_utils import Cluster

from eskernel.ray import RayKernel
from eskernel.ray.cluster import nodes
from eskernel.values import shard_of

SMALL = {"object_store_memory": 80 * 2**20}
SOON = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 200,
    "health_check_timeout_ms": 500,
    "health_check_failure_threshold": 3,
}
LEDGER = {TYPE: process_ledger}
STREAMS = [f"s{number}" for number in range(8)]
PATIENCE = 30


@pytest.fixture(scope="module")
def cluster():
    """A Ray cluster of a head, which runs nothing, and of nodes that tests add and remove."""
    folder = tempfile.mkdtemp(prefix="ray-")
    head = {"num_cpus": 0, "include_dashboard": False, "temp_dir": folder, **SMALL}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", os.pathsep.join(PATHS))
        cluster = Cluster(True, head_node_args={**head, "_system_config": SOON})
        ray.init(cluster.address, log_to_driver=False, configure_logging=False)
        try:
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def two_nodes(cluster):
    """The cluster, with two nodes that run shards."""
    while len(cluster.worker_nodes) < 2:
        cluster.add_node(num_cpus=1, **SMALL)
    eventually(lambda: len(nodes()) == 2, timeout=PATIENCE)
    return cluster


_names = iter(f"test{number}" for number in range(100))


@contextmanager
def ray_kernel(url: str, domains: Any = LEDGER, **options: Any):
    """A kernel with shards of its own, which are ended after it."""
    every = {"name": next(_names), "shards": 4, "balance_every": None, **options}
    kernel = RayKernel(domains, url, **every)
    kernel.start()
    try:
        yield kernel
    finally:
        kernel.end_shards()


def command(kind: str, payload: Any = None, aggregate_id: str = "s0", **options: Any) -> Command:
    return Command(TYPE, aggregate_id, kind, payload, **options)


def pid_of(kernel: RayKernel, shard: int) -> int:
    """Return the process a shard runs in, once it does."""
    actors = kernel._running.actors
    return int(ray.get(actors.find(shard).place.remote()).split()[1])


class Fronts:
    """Several fronts of the same shards, used in turn."""

    def __init__(self, *kernels: RayKernel) -> None:
        self._next = itertools.cycle(kernels).__next__

    def __getattr__(self, name: str) -> Any:
        return getattr(self._next(), name)


def test_it_is_used_like_a_kernel_and_shared_by_fronts(two_nodes):
    with ray_kernel("memory:", name="shared") as kernel:
        assert Counter(kernel.shard_nodes()).most_common(1)[0][1] == 2
        done = kernel.dispatch(note("s0", 1, 7, command_id="once"))
        assert (done.sequence, done.events[0].payload["n"]) == (1, 7)
        called = threading.Event()
        future = kernel.submit(note("s1", 1, 1))
        future.add_done_callback(lambda _: called.set())
        assert future.result(10).sequence == 1
        assert called.wait(10)
        assert kernel.rebalance() == 0
        with pytest.raises(CommandRejected, match="refused"):
            kernel.dispatch(command("refuse", {"why": "so"}))
        with pytest.raises(UnknownProjection):
            kernel.dispatch(note("s0", 1, 1), wait_for=["none"])
        assert "shard-3" in str(kernel.tree())
        other = RayKernel(LEDGER, "memory:", name="shared")
        with other:
            assert other.state_of(TYPE, "s0") == ({"count": 1, "total": 7}, 1)
            assert other.dispatch(note("s0", 1, 7, command_id="once")) == done
            assert other.outcome_of(TYPE, "s0", "once") == done
            assert sorted(other.live_aggregates()) == [(TYPE, "s0"), (TYPE, "s1")]
        assert kernel.stop()
        with pytest.raises(KernelStopped):
            kernel.dispatch(note("s0", 1, 1))
        kernel.start()
        assert kernel.state_of(TYPE, "s0") == ({"count": 1, "total": 7}, 1)
        unlike = RayKernel(LEDGER, "memory:", name="shared", snapshot_interval=3)
        with pytest.raises(ValueError, match="differ in domains, stores or options"):
            unlike.start()
        with other:
            assert kernel.end_shards()
            with pytest.raises(KernelStopped, match="ended"):
                other.dispatch(note("s0", 1, 1))


def test_a_slow_command_holds_up_no_other_and_keeps_its_shard_where_it_is(two_nodes, tmp_path):
    with ray_kernel("memory:", shards=1) as kernel:
        slow = kernel.submit(command("wait", str(tmp_path / "go"), "slow"))
        eventually((tmp_path / "go.begun").exists)
        assert kernel.dispatch(note("s1", 1, 1)).sequence == 1
        before = kernel.shard_nodes()
        (elsewhere,) = set(nodes()) - set(before)
        assert not kernel._running.actors.move(0, elsewhere, 0.1)
        assert kernel.dispatch(note("s1", 1, 2)).sequence == 2
        assert kernel.shard_nodes() == before
        (tmp_path / "go").touch()
        assert slow.result(10).sequence == 1


def test_a_start_that_fails_says_why_and_leaves_nothing(two_nodes, tmp_path):
    url = f"sqlite:///{tmp_path}/no/such.db"
    with pytest.raises(StoreUnavailable), ray_kernel(url, name="lost", shards=1):
        pass
    with ray_kernel("memory:", name="lost", shards=1) as kernel:
        assert kernel.dispatch(note("s1", 1, 1)).sequence == 1


def test_a_shard_whose_mover_has_died_is_made_anew_by_who_misses_it(two_nodes):
    with ray_kernel("memory:", shards=2) as kernel:
        assert [shard_of((TYPE, stream), 2) for stream in ("s0", "s4")] == [0, 1]
        for stream in ("s0", "s4"):
            kernel.dispatch(note(stream, 1, 1))
        ray.kill(kernel._running.actors.find(0))
        assert kernel.dispatch(note("s0", 1, 2, command_id="a"), timeout=PATIENCE).sequence == 1
        assert kernel.dispatch(note("s4", 1, 2)).sequence == 2


def test_projections_see_the_events_of_all_shards(two_nodes, sqlite_url):
    projections = {"counting": remote_counting}
    domains = {"probe": remote_domain}
    with ray_kernel(sqlite_url, domains, shards=2, projections=projections) as kernel:
        for number in range(6):
            noted = Command("probe", f"s{number}", "note", number)
            kernel.dispatch(noted, wait_for=["counting"], timeout=20)
        assert kernel.projection("counting").state["count"] == 6
        assert kernel.audit("counting").complete


def test_a_shard_that_dies_takes_nothing_acknowledged_along(two_nodes, sqlite_url):
    with ray_kernel(sqlite_url, dispatch_timeout=PATIENCE) as kernel:
        with Load(kernel, STREAMS, new_seed()) as load:
            pid = pid_of(kernel, 0)
            os.kill(pid, signal.SIGKILL)
            load.go_on(300)
            assert pid_of(kernel, 0) != pid
        assert load.errors_with_id() == []
        load.check(sqlite_url)


def test_a_node_that_is_lost_takes_nothing_acknowledged_along(two_nodes, postgresql_url):
    with ray_kernel(postgresql_url, dispatch_timeout=PATIENCE) as kernel:
        with Load(kernel, STREAMS, new_seed()) as load:
            lost = next(n for n in two_nodes.worker_nodes if n.node_id in kernel.shard_nodes())
            two_nodes.remove_node(lost, allow_graceful=False)
            eventually(lambda: len(set(kernel.shard_nodes()) - {None}) == 1, timeout=PATIENCE)
            load.go_on(300)
        assert load.errors_with_id() == []
        load.check(postgresql_url)


def test_a_node_that_comes_gets_its_share_and_no_command_fails(two_nodes, sqlite_url):
    two_nodes.remove_node(next(iter(two_nodes.worker_nodes)), allow_graceful=False)
    eventually(lambda: len(nodes()) == 1, timeout=PATIENCE)
    options = {"name": "moving", "dispatch_timeout": PATIENCE}
    other = RayKernel(LEDGER, sqlite_url, balance_every=None, **options)
    with ray_kernel(sqlite_url, balance_every=0.2, **options) as kernel, other:
        assert len(set(kernel.shard_nodes())) == 1
        with Load(Fronts(kernel, other), STREAMS, new_seed()) as load:
            new = two_nodes.add_node(num_cpus=1, **SMALL)
            eventually(lambda: kernel.shard_nodes().count(new.node_id) == 2, timeout=PATIENCE)
            load.go_on()
        assert load.errors == []
        load.check(sqlite_url)


def test_the_readmes_block_runs(two_nodes, postgresql_url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (block,) = [one for one in of_language("python") if "eskernel.ray" in one.code]
    code = block.code.replace("postgresql://bank:secret@db/bank", postgresql_url)
    assert code != block.code
    namespace = {"__name__": "readme", "bank_account": bank_account, "Command": Command}
    try:
        run(code, block.line, namespace)
    finally:
        RayKernel({"bank_account": bank_account}, postgresql_url, shards=4).start().end_shards()
