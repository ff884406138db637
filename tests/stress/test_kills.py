"""Every actor of the tree killed in every way under load: nothing is lost, doubled or stuck."""

from __future__ import annotations

import itertools
import random
import threading
import time
from contextlib import suppress

import pykka
import pytest
from killing import (
    WAYS,
    Load,
    failing_tell,
    find,
    in_thread,
    no_gap,
    quiet_log,
    replaced,
    stop,
    works,
)
from pykka.messages import ProxyCall
from stress_helpers import TYPE, DeferredStore, Ledger, note, noted
from support import eventually, new_seed

from eskernel import Command, Kernel
from eskernel.actors import runtime, tree
from eskernel.actors.aggregate.manager import AggregateManager
from eskernel.actors.aggregate.passivation import Passivator
from eskernel.actors.aggregate.supervisor import AggregateSupervisor
from eskernel.actors.committer import Committer
from eskernel.actors.pool import ActorPool
from eskernel.actors.supervision import Backoff
from eskernel.errors import EskernelError, KernelStopped
from eskernel_stores import MemoryStore

__all__ = ["no_gap", "quiet_log"]

pytestmark = [pytest.mark.stress, pytest.mark.usefixtures("quiet_log")]

MODES = [MemoryStore, DeferredStore]
STREAMS = [f"s{number}" for number in range(8)]
EVERYWHERE = ["root", "actor-pool", "aggregate-supervisor", "aggregate-manager", "timer"]
VICTIMS = [
    *itertools.product(EVERYWHERE, MODES),
    ("committer", DeferredStore),
    ("completion-pool", DeferredStore),
]


def _kill_and_expect_service(kernel, name, kill, number):
    old = eventually(lambda: find(kernel, name))
    kill(old)
    eventually(lambda: not old.is_alive())
    works(kernel, "probe", 4 * number)  # a live aggregate
    works(kernel, f"fresh{number}", 4 * number + 2)
    eventually(lambda: replaced(kernel, name, old), timeout=2)


@pytest.mark.parametrize(("victim", "mode"), VICTIMS)
def test_a_killed_actor_is_replaced_and_dispatch_works_within_a_second(victim, mode):
    seed, store, domain = new_seed(), mode(), Ledger()
    with Kernel({TYPE: domain}, store) as kernel:
        works(kernel, "probe", -2)
        with Load(kernel, store, domain, seed, STREAMS):
            for number, kill in enumerate(WAYS):
                _kill_and_expect_service(kernel, victim, kill, number)
        assert kernel.stop() is True
    numbers = [n for _, n in noted(store, "probe")]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == 2 + 2 * len(WAYS)


@pytest.mark.parametrize("mode", MODES)
def test_killed_aggregates_lose_nothing(mode):
    seed, store, domain = new_seed(), mode(), Ledger()
    rng = random.Random(seed)
    with Kernel({TYPE: domain}, store) as kernel:
        with Load(kernel, store, domain, seed, STREAMS):
            for _ in range(100):
                ref = kernel.aggregate_ref(TYPE, rng.choice(STREAMS))
                if ref is not None:
                    rng.choice([stop, failing_tell])(ref)
                time.sleep(rng.random() * 0.01)
        assert kernel.stop() is True


@pytest.mark.parametrize("mode", MODES)
def test_a_base_exception_in_an_aggregate_reaches_nobody_else_and_ends(mode):
    def leave() -> None:
        raise SystemExit("out of its loop")

    store = mode()
    with Kernel({TYPE: Ledger()}, store) as kernel:
        kernel.dispatch(note("a", 0, 1))
        ref = kernel.aggregate_ref(TYPE, "a")
        actor = kernel._runtime.services.routes[TYPE, "a"]
        kernel._domains[TYPE].version = leave  # where a message can have it called
        message = ProxyCall(attr_path=("domain", "version"), args=(), kwargs={})
        ref.tell(message)
        asked = ref.ask(message, block=False)
        kernel.dispatch(note("a", 0, 2), timeout=1)
        with pytest.raises(Exception) as answer:
            asked.get(timeout=1)
        assert not isinstance(answer.value, pykka.Timeout)
        eventually(lambda: not actor.mailbox, timeout=1)
    assert noted(store, "a") == [(0, 1), (0, 2)]


def test_a_kill_storm_loses_nothing_in_memory():
    for _ in range(3):
        _storm(MemoryStore)


def test_a_kill_storm_loses_nothing_when_appends_end_later():
    for _ in range(3):
        _storm(DeferredStore)


def _storm(mode):
    seed = new_seed()
    rng = random.Random(seed)
    store = mode() if mode is MemoryStore else mode(seed, delay=0.001)
    domain = Ledger()
    # Fewer than its limits allow: 20 restarts in 10 seconds below the root, 5 of the root.
    victims = ["root"] * 3 + [rng.choice(EVERYWHERE[1:]) for _ in range(12)]
    if mode is not MemoryStore:
        victims += ["committer"] * 2 + ["completion-pool"]
    rng.shuffle(victims)
    with Kernel({TYPE: domain}, store, passivation_timeout=0.02, snapshot_interval=5) as kernel:
        with Load(kernel, store, domain, seed, STREAMS):
            for victim in victims:
                ref = find(kernel, victim)
                if ref is not None and ref.is_alive():
                    rng.choice(WAYS)(ref)
                for _ in range(rng.randrange(8)):
                    time.sleep(rng.random() * 0.02)
                    kernel.submit(Command(TYPE, rng.choice(STREAMS), "crash"))
                    ref = kernel.aggregate_ref(TYPE, rng.choice(STREAMS))
                    if ref is not None:
                        rng.choice([stop, failing_tell])(ref)
        assert kernel.stop() is True


# One stream, one actor.


class _Held:
    """A kernel with a command inside the domain that ends when it is let go."""

    def __init__(self, mode, *, pooled):
        self.domain, self.store = Ledger(), mode()
        self.inside, self.let_go = threading.Event(), threading.Event()
        self.ran = []
        self.domain.during = self._during
        self.kernel = Kernel({TYPE: self.domain}, self.store, dispatch_timeout=20).start()
        self.kernel.dispatch(note("other", 0, 0))
        held = Command(TYPE, "a", "hold", [0, 1])
        self.first = self.kernel.submit(held) if pooled else in_thread(self.kernel.dispatch, held)
        assert self.inside.wait(5)

    def _during(self, command):
        self.ran.append(command[1:4])
        if command.type == "hold":
            self.inside.set()
            assert self.let_go.wait(20)

    def victim(self, name):
        if name == "aggregate":
            return self.kernel.aggregate_ref(TYPE, "a")
        return find(self.kernel, name)

    def end(self):
        self.let_go.set()
        return self.kernel.stop()


HELD_VICTIMS = ["root", "aggregate-supervisor", "aggregate"]


@pytest.mark.parametrize("pooled", [False, True], ids=["on its caller", "on the pool"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", HELD_VICTIMS)
def test_a_successor_waits_for_the_command_its_predecessor_is_running(name, mode, pooled):
    for kill in WAYS[:2] if name == "aggregate" else WAYS:
        held = _Held(mode, pooled=pooled)
        kernel = held.kernel
        try:
            old = held.victim(name)
            kill(old)
            if name != "aggregate":
                eventually(lambda old=old: not old.is_alive())
                eventually(lambda old=old, kernel=kernel: replaced(kernel, name, old))
            later = [
                kernel.submit(note("a", 1, 2)),
                in_thread(kernel.dispatch, note("a", 2, 2)),
                in_thread(kernel.state_of, TYPE, "a"),
            ]
            works(kernel, "other", 1)
            works(kernel, "fresh", 1)
            assert not any(one.done() for one in [held.first, *later])
            assert [run for run in held.ran if run[0] == "a"] == [("a", "hold", [0, 1])]
            held.let_go.set()
            for one in [held.first, *later]:
                one.result(5)
            assert noted(held.store, "a")[0] == (0, 1)
            assert sorted(noted(held.store, "a")) == [(0, 1), (1, 2), (2, 2)]
            assert held.domain.overlaps == []
        finally:
            assert held.end() is True


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["root", "actor-pool", "committer"])
def test_dispatch_works_within_a_second_although_a_pool_thread_is_long_at_work(name, mode):
    if name == "committer" and mode is MemoryStore:
        pytest.skip("a store that appends at once has no committer")
    held = _Held(mode, pooled=True)
    try:
        old = held.victim(name)
        old.stop(block=False)
        for n in itertools.count(1, 2):
            works(held.kernel, "other", n)
            works(held.kernel, f"fresh{n}", n)
            if replaced(held.kernel, name, old):
                break
        held.let_go.set()
        held.first.result(5)
        assert held.domain.overlaps == []
    finally:
        held.end()


# While there is no supervisor.


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kill", WAYS)
def test_commands_sent_while_there_is_no_supervisor_wait_for_the_next(no_gap, mode, kill):
    store = mode()
    with Kernel({TYPE: Ledger()}, store) as kernel:
        for stream in ("a", "b", "c"):
            kernel.dispatch(note(stream, 0, 1))
        supervisor = find(kernel, "aggregate-supervisor")
        no_gap.clear()
        kill(supervisor)
        eventually(kernel._runtime.services.between_supervisors)
        calls = [
            in_thread(kernel.dispatch, note("a", 0, 2), timeout=5),
            kernel.submit(note("b", 0, 2)),
            in_thread(kernel.state_of, TYPE, "c", timeout=5),
            in_thread(kernel.submit, note("b", 0, 3)),
            in_thread(kernel.dispatch, note("a", 1, 2), timeout=5),
        ]
        threading.Event().wait(0.05)  # they must not depend on a new supervisor coming at once
        assert not any(call.done() for call in calls[:3])
        no_gap.set()
        for call in calls:
            done = call.result(3)
        calls[3].result(3).result(3)
        assert done.sequence == 3 or len(noted(store, "a")) == 3
    assert sorted(noted(store, "a")) == [(0, 1), (0, 2), (1, 2)]
    assert noted(store, "b") == [(0, 1), (0, 2), (0, 3)]


@pytest.mark.parametrize("stream", ["live", "fresh"])
def test_a_timeout_is_kept_while_there_is_no_supervisor(no_gap, stream):
    store = MemoryStore()
    with Kernel({TYPE: Ledger()}, store) as kernel:
        kernel.dispatch(note("live", 0, 1))
        no_gap.clear()
        stop(find(kernel, "aggregate-supervisor"))
        eventually(kernel._runtime.services.between_supervisors)
        begun = time.monotonic()
        with pytest.raises(EskernelError):
            kernel.dispatch(note(stream, 0, 2), timeout=0.1)
        assert time.monotonic() - begun < 1
        no_gap.set()
        works(kernel, "other", 0)
    assert (0, 2) not in noted(store, stream)


# Giving up.


def _kill_until_failed(kernel):
    for _ in range(runtime.ROOT_INTENSITY + 1):
        root = kernel._runtime.root
        stop(root)
        eventually(lambda root=root: not root.is_alive())
        eventually(
            lambda root=root: kernel._runtime.root is not root or kernel._runtime.services.refusal
        )
    eventually(lambda: kernel._runtime.services.refusal)


def _check_failed(kernel, about):
    for call in (
        lambda: kernel.dispatch(note("a", 0, 9)),
        lambda: kernel.dispatch(note("fresh", 0, 9)),
        lambda: kernel.submit(note("a", 0, 9)),
        lambda: kernel.state_of(TYPE, "a"),
        lambda: kernel.outcome_of(TYPE, "a", "id"),
    ):
        begun = time.monotonic()
        with pytest.raises(KernelStopped, match=about):
            call()
        assert time.monotonic() - begun < 1
    assert not kernel.tree().alive
    assert "down" in str(kernel.tree())


@pytest.mark.parametrize("mode", MODES)
def test_a_root_that_ends_again_and_again_leaves_the_kernel_failed_and_startable(mode):
    store = mode()
    kernel = Kernel({TYPE: Ledger()}, store).start()
    kernel.dispatch(note("a", 0, 1))
    _kill_until_failed(kernel)
    _check_failed(kernel, "gave up")
    assert kernel.stop() is True
    assert kernel.stop() is True
    with kernel:
        kernel.dispatch(note("a", 0, 2))
    assert noted(store, "a") == [(0, 1), (0, 2)]


CHILDREN = [AggregateManager, AggregateSupervisor, Passivator, ActorPool, Committer]


@pytest.mark.parametrize("child", CHILDREN)
def test_a_child_that_fails_again_and_again_leaves_the_kernel_failed(child, monkeypatch):
    quick = Backoff(first=0.001, longest=0.001)
    monkeypatch.setattr(tree, "BACKOFF", quick)
    monkeypatch.setattr(runtime, "BACKOFF", quick)
    kernel = Kernel({TYPE: Ledger()}, DeferredStore()).start()
    kernel.dispatch(note("a", 0, 1))

    names = {
        AggregateManager: "aggregate-manager",
        AggregateSupervisor: "aggregate-supervisor",
        Passivator: "timer",
        ActorPool: "actor-pool",
        Committer: "committer",
    }
    ref = eventually(lambda: find(kernel, names[child]))

    def fail(self):
        raise ZeroDivisionError("this child never comes up")

    monkeypatch.setattr(child, "on_start", fail)
    waiting = [in_thread(kernel.dispatch, note(f"w{n}", 0, 1), timeout=20) for n in range(8)]
    stop(ref)
    waiting += [in_thread(kernel.dispatch, note(f"v{n}", 0, 1), timeout=20) for n in range(8)]
    eventually(lambda: kernel._runtime.services.refusal, timeout=10)
    for one in waiting:
        with suppress(EskernelError):
            one.result(3)
    _check_failed(kernel, "never comes up")
    assert kernel.stop() is True


def test_the_limits_of_the_tree_let_a_child_that_never_comes_up_fail_the_kernel():
    longest = [min(tree.BACKOFF.first * 2**n, tree.BACKOFF.longest) for n in range(tree.INTENSITY)]
    assert sum(longest) < tree.PERIOD, "the root never gives up"
    until_failed = runtime.ROOT_INTENSITY * (sum(longest) + tree.BACKOFF.first)
    assert until_failed < runtime.ROOT_PERIOD, "the kernel restarts its root for ever"


@pytest.mark.parametrize("mode", MODES)
def test_callers_waiting_when_the_kernel_fails_are_answered(mode):
    held = _Held(mode, pooled=False)
    kernel = held.kernel
    waiting = [kernel.submit(note("a", 1, n)) for n in range(5)]
    waiting += [in_thread(kernel.dispatch, note("a", 2, n)) for n in range(5)]
    waiting.append(in_thread(kernel.state_of, TYPE, "a"))
    waiting.append(kernel.aggregate_ref(TYPE, "a").ask("hello", block=False))
    asked = waiting.pop()
    eventually(lambda: kernel._runtime.services.routes[TYPE, "a"].waiting() >= 12)
    _kill_until_failed(kernel)
    held.let_go.set()
    for one in waiting:
        with pytest.raises(KernelStopped, match="gave up"):
            one.result(3)
    with pytest.raises((pykka.ActorDeadError, KernelStopped)):
        asked.get(timeout=3)
    try:
        held.first.result(3)
        assert noted(held.store, "a") == [(0, 1)]
    except KernelStopped:
        assert noted(held.store, "a") == []
    assert kernel.stop() is True
