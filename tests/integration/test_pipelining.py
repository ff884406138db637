"""Commands decided in a row while the first of them is still being stored."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import pytest
from kernel_helpers import (
    TYPE,
    Gate,
    ProbedStore,
    Tally,
    add,
    attempt,
    command,
    numbers_of,
    unavailable,
)
from structlog.testing import capture_logs
from support import eventually

from domains import bank_account
from eskernel import Accepted, Command, Kernel
from eskernel.actors.aggregate import stream_actor
from eskernel.actors.aggregate.pipeline import Pipeline
from eskernel.actors.tree import POOL_SIZE
from eskernel.errors import AggregateCrashed, CommandRejected, StoreUnavailable


@pytest.fixture
def store():
    return ProbedStore(immediate=False)


@pytest.fixture
def pipeline(store):
    """A kernel with live aggregates, and the gate at which the first append to "a" waits."""
    domains = {TYPE: Tally(), "bank_account": bank_account}
    gate = Gate()
    with capture_logs(), Kernel(domains, store) as kernel, gate:
        for name in domains:
            kernel.state_of(name, "a")
        store.hook_append = gate
        yield kernel, gate


def bank(kind, amount):
    return Command("bank_account", "a", kind, {"amount": amount})


def queue(kernel, gate, *commands):
    """Submit commands and wait until all are decided, the first being held in the store."""
    futures = [kernel.submit(one) for one in commands]
    name = f"{commands[0].aggregate_type}/a"
    gate.wait()
    eventually(lambda: kernel.tree().find(name).queued == len(commands))
    return futures


def fail_first(store, gate, failure):
    """Have the first append fail once the gate is open."""

    def fail(stream_id):
        gate()
        store.hook_append = None
        failure(stream_id)

    store.hook_append = fail


def test_each_has_the_sequence_it_was_decided_on(pipeline, store):
    kernel, gate = pipeline
    futures = queue(kernel, gate, *[add(n=n) for n in range(50)])
    assert not any(future.done() for future in futures)
    gate.open()
    assert [future.result(5).sequence for future in futures] == list(range(1, 51))
    assert numbers_of(store) == list(range(50))


def test_what_gathers_during_a_write_is_written_at_once(pipeline, store):
    kernel, gate = pipeline
    batches = []
    write = store.append_batch
    store_batch = lambda commits: (batches.append(len(commits)), write(commits))[1]  # noqa: E731
    kernel.stop()
    store.append_batch = store_batch
    kernel.start()
    futures = [kernel.submit(add(f"b{n % 7}", n)) for n in range(100)]
    gate.wait()
    eventually(lambda: sum(node.queued for node in kernel.tree().walk()) >= 100)
    gate.open()
    assert all(isinstance(future.result(5), Accepted) for future in futures)
    assert sum(batches) == 100
    assert len(batches) <= 3


def test_a_refusal_waits_for_the_events_it_was_decided_on(pipeline):
    kernel, gate = pipeline
    futures = queue(kernel, gate, bank("deposit", 10), bank("withdraw", 30))
    assert not futures[1].done()
    gate.open()
    refusal = futures[1].exception(5)
    assert isinstance(refusal, CommandRejected)
    assert refusal.detail == {"balance": 10, "asked": 30}


def test_what_was_decided_on_events_that_were_not_stored_is_decided_again(pipeline, store):
    kernel, gate = pipeline
    fail_first(store, gate, unavailable(outcome_unknown=False))
    futures = queue(
        kernel, gate, bank("deposit", 10), bank("withdraw", 10), bank("deposit", 5), bank("x", 1)
    )
    gate.open()
    outcomes = [attempt(future.result, 5) for future in futures]
    assert isinstance(outcomes[0], StoreUnavailable)
    assert isinstance(outcomes[1], CommandRejected), "there was nothing to withdraw"
    assert outcomes[1].detail == {"balance": 0, "asked": 10}
    assert outcomes[2].sequence == 1
    assert isinstance(outcomes[3], CommandRejected)
    assert kernel.state_of("bank_account", "a") == ({"balance": 5}, 1)


def test_a_crash_touches_only_its_own_command(pipeline, store):
    kernel, gate = pipeline
    futures = [kernel.submit(one) for one in (add(n=1), add(n=2), command("raise"), add(n=3))]
    gate.wait()
    eventually(lambda: kernel.tree().find(f"{TYPE}/a").queued == 4)
    gate.open()
    outcomes = [attempt(future.result, 5) for future in futures]
    assert isinstance(outcomes[2], AggregateCrashed)
    assert [outcomes[n].sequence for n in (0, 1, 3)] == [1, 2, 3]
    assert numbers_of(store) == [1, 2, 3]


@pytest.mark.parametrize("stored", [False, True])
def test_after_an_unknown_outcome_the_others_are_decided_on_what_is_true(stored, pipeline, store):
    kernel, gate = pipeline
    failure = unavailable(outcome_unknown=True)
    if stored:

        def fail(stream_id):
            store.after_append = None
            failure(stream_id)

        store.after_append = fail
    else:
        fail_first(store, gate, failure)
    futures = queue(kernel, gate, *[add(n=n) for n in range(5)])
    gate.open()
    outcomes = [attempt(future.result, 5) for future in futures]
    assert isinstance(outcomes[0], StoreUnavailable)
    assert outcomes[0].outcome_unknown
    assert [outcome.sequence for outcome in outcomes[1:]] == [n + stored for n in (1, 2, 3, 4)]
    assert numbers_of(store) == ([0] if stored else []) + [1, 2, 3, 4]


def test_a_failing_append_harms_no_other_aggregate_of_the_same_write(pipeline, store):
    kernel, gate = pipeline
    first = kernel.submit(add("a"))
    gate.wait()

    def fail_b(stream_id):
        if stream_id == (TYPE, "b"):
            raise StoreUnavailable("only b")

    futures = [kernel.submit(add(name)) for name in "bcd"]
    eventually(lambda: sum(node.queued for node in kernel.tree().walk()) >= 4)
    store.hook_append = fail_b
    gate.open()
    assert first.result(5).sequence == 1
    assert isinstance(futures[0].exception(5), StoreUnavailable)
    assert [future.result(5).sequence for future in futures[1:]] == [1, 1]


# Completing.


@contextmanager
def busy_pool(kernel, domain):
    """Have long commands take all threads of the kernel's actor pool."""
    inside = threading.Semaphore(0)
    with Gate() as gate:

        def hold(one, _state):
            if one.type == "return":
                inside.release()
                gate()

        domain.hooks["handle_command"] = hold
        for n in range(POOL_SIZE):
            kernel.submit(command("return", None, f"long{n}"))
        for _ in range(POOL_SIZE):
            assert inside.acquire(timeout=10)
        yield


@pytest.mark.parametrize("snapshot_interval", [0, 1])
def test_long_commands_delay_no_append_of_another_aggregate(store, snapshot_interval):
    domain, gate = Tally(), Gate()
    with Kernel({TYPE: domain}, store, snapshot_interval=snapshot_interval) as kernel, gate:
        kernel.dispatch(add("b"))
        store.hook_append = gate
        submitted = kernel.submit(add("b"))
        gate.wait()
        with busy_pool(kernel, domain):
            gate.open()
            assert submitted.result(2).sequence == 2
            assert kernel.dispatch(add("b"), timeout=2).sequence == 3
            assert kernel.state_of(TYPE, "b", timeout=2)[1] == 3


def test_a_failed_append_is_answered_while_the_pool_is_busy(store):
    domain = Tally()
    with Kernel({TYPE: domain}, store) as kernel:
        kernel.dispatch(add("b"))
        with busy_pool(kernel, domain):
            store.hook_append = unavailable(outcome_unknown=True)
            assert isinstance(attempt(kernel.dispatch, add("b"), timeout=2), StoreUnavailable)
            store.hook_append = None
            assert kernel.dispatch(add("b"), timeout=2).sequence == 2


def test_snapshots_are_not_encoded_on_the_thread_that_writes(store, monkeypatch):
    encoding, writing = [], set()
    store.hook_append = lambda _stream_id: writing.add(threading.get_ident())
    take_snapshot = stream_actor.take_snapshot

    def note(*arguments):
        encoding.append(threading.get_ident())
        take_snapshot(*arguments)

    monkeypatch.setattr(stream_actor, "take_snapshot", note)
    with Kernel({TYPE: Tally()}, store, snapshot_interval=3) as kernel:
        for n in range(7):
            kernel.dispatch(command("add_all", [n, n]))
    assert len(encoding) == 4
    assert writing.isdisjoint(encoding)


@pytest.mark.parametrize("error", [ZeroDivisionError("a mistake"), SystemExit("killed")])
def test_a_committer_that_fails_to_complete_an_append_has_it_completed(store, monkeypatch, error):
    errors = [error]
    settle_stored = Pipeline.settle_stored

    def fail_once(self, turn):
        if errors:
            raise errors.pop()
        settle_stored(self, turn)

    monkeypatch.setattr(Pipeline, "settle_stored", fail_once)
    with capture_logs(), Kernel({TYPE: Tally()}, store) as kernel:
        assert kernel.dispatch(add(n=1), timeout=5).sequence == 1
        assert kernel.dispatch(add(n=2), timeout=5).sequence == 2
        assert kernel.state_of(TYPE, "a") == ({"total": 3, "count": 2}, 2)
        eventually(lambda: kernel.tree().find("committer").alive)
        restarts = kernel.tree().find("committer").restarts
    assert restarts == isinstance(error, SystemExit)
    assert errors == []


def test_an_aggregate_that_crashes_on_its_callers_thread_leaves_the_table(store):
    with capture_logs(), Kernel({TYPE: Tally()}, store) as kernel:
        kernel.dispatch(add())
        assert isinstance(attempt(kernel.dispatch, command("raise")), AggregateCrashed)
        assert kernel.live_aggregates() == []
        assert kernel._runtime.services.routes == {}
        eventually(lambda: kernel._runtime.services.supervisor.count_aggregates() == 0)
