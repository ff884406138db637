"""Receipts: a command repeated under its id has the first outcome, and happens once."""

from __future__ import annotations

import threading

import pytest
from kernel_helpers import (
    TYPE,
    Gate,
    ProbedStore,
    add,
    attempt,
    command,
    events_of,
    numbers_of,
    snapshot_past,
    stop_aggregate,
    unavailable,
)
from support import eventually, run_threads

from eskernel import Event, Kernel
from eskernel.errors import (
    AggregateCrashed,
    CommandRejected,
    ConcurrencyConflict,
    DispatchTimeout,
    InvalidCommand,
    StoreUnavailable,
)
from eskernel_stores import MemoryStore


def restart(kernel):
    kernel.stop()
    kernel.start()


@pytest.mark.parametrize("between", [lambda kernel: None, stop_aggregate, restart])
@pytest.mark.parametrize("snapshot_interval", [0, 1])
def test_a_repeat_returns_the_first_outcome(between, snapshot_interval, start, store, domain):
    kernel = start(snapshot_interval=snapshot_interval)
    kernel.dispatch(add(n=1))
    once = command("add_all", [2, 3], command_id="once", metadata={"k": "v"}, tags=("t",))
    first = kernel.dispatch(once)
    kernel.dispatch(add(n=4))
    between(kernel)
    handled = len(domain.handled)
    assert kernel.dispatch(once) == first
    assert kernel.submit(once).result(5) == first
    assert kernel.outcome_of(TYPE, "a", "once") == first
    assert [event.payload["n"] for event in first.events] == [2, 3]
    assert len(domain.handled) == handled
    assert numbers_of(store) == [1, 2, 3, 4]


def test_a_repeat_is_known_by_its_id_alone(start, store):
    kernel = start()
    first = kernel.dispatch(add(n=1, command_id="once"))
    assert kernel.dispatch(command("raise", command_id="once")) == first
    assert kernel.dispatch(add(n=9, command_id="once", metadata={"other": 1})) == first
    assert numbers_of(store) == [1]


def test_ids_of_different_aggregates_have_nothing_to_do_with_each_other(start, store):
    kernel = start()
    for name in "abc":
        assert kernel.dispatch(add(name, command_id="same")).stream_id == (TYPE, name)
    assert [len(events_of(store, name)) for name in "abc"] == [1, 1, 1]


def test_a_command_sent_again_after_a_timeout_is_counted_once(domain):
    store = ProbedStore(immediate=False)
    with Kernel({TYPE: domain}, store) as kernel, Gate() as gate:
        store.hook_append = gate
        once = add(n=5, command_id="once")
        for _ in range(3):
            with pytest.raises(DispatchTimeout) as timeout:
                kernel.dispatch(once, timeout=0.03)
        assert timeout.value.started is True
        gate.open()
        assert kernel.dispatch(once, timeout=5).sequence == 1
        assert numbers_of(store) == [5]
        assert [handled.payload for handled in domain.handled] == [5]


@pytest.fixture
def deferred(domain):
    """A kernel on a deferred store whose appends wait for a gate."""
    store = ProbedStore(immediate=False)
    with Kernel({TYPE: domain}, store) as kernel, Gate() as gate:
        kernel.dispatch(add("other"))
        kernel.state_of(TYPE, "a")
        store.hook_append = gate
        yield kernel, store, gate


def test_a_repeat_while_the_first_is_being_stored_shares_its_outcome(deferred, domain):
    kernel, store, gate = deferred
    once = command("add_all", [1, 2], command_id="once")
    futures = [kernel.submit(once) for _ in range(3)]
    gate.wait()
    futures += [kernel.submit(add(n=3)), kernel.submit(once)]
    asked = []
    asking = threading.Thread(target=lambda: asked.append(kernel.outcome_of(TYPE, "a", "once")))
    asking.start()
    eventually(lambda: kernel.tree().find(f"{TYPE}/a").queued == 6)
    assert not any(future.done() for future in futures)
    gate.open()
    outcomes = [future.result(5) for future in futures]
    asking.join(5)
    assert [outcomes[n] for n in (1, 2, 4)] == [outcomes[0]] * 3
    assert asked == [outcomes[0]]
    assert outcomes[3].sequence == 3
    assert numbers_of(store) == [1, 2, 3]


def test_when_the_first_fails_one_of_its_repeats_is_decided_instead(deferred):
    kernel, store, gate = deferred
    fail, failed = unavailable(outcome_unknown=False), []

    def fail_once(stream_id):
        gate()
        if not failed:
            failed.append(1)
            fail(stream_id)

    store.hook_append = fail_once
    futures = [kernel.submit(add(n=1, command_id="once")) for _ in range(4)]
    gate.wait()
    eventually(lambda: kernel.tree().find(f"{TYPE}/a").queued == 4)
    gate.open()
    outcomes = [attempt(future.result, 5) for future in futures]
    assert isinstance(outcomes[0], StoreUnavailable)
    assert [outcome.sequence for outcome in outcomes[1:]] == [1, 1, 1]
    assert numbers_of(store) == [1]


def test_many_threads_repeating_one_command_all_have_the_one_outcome(start, store):
    kernel = start()
    outcomes = []

    def repeat():
        repeated = [(n, kernel.dispatch(add(n=n, command_id=f"c{n}"))) for n in range(20)]
        outcomes.extend(repeated)

    run_threads(*[repeat] * 8)
    assert len({(n, done.sequence, done.position) for n, done in outcomes}) == 20
    assert sorted(numbers_of(store)) == list(range(20))


# The window.


@pytest.mark.parametrize("between", [lambda kernel: None, stop_aggregate, restart])
@pytest.mark.parametrize("snapshot_interval", [0, 1, 3])
@pytest.mark.parametrize("kept", [0, 1, 3])
def test_only_the_newest_receipts_are_kept(kept, snapshot_interval, between, start, store):
    kernel = start(receipts_kept=kept, snapshot_interval=snapshot_interval)
    for n in range(5):
        kernel.dispatch(command("add_all", [n, n], command_id=f"c{n}"))
        kernel.dispatch(add(n=100))
    if snapshot_interval:
        snapshot_past(store, 15 - snapshot_interval)
    between(kernel)
    known = [n for n in range(5) if kernel.outcome_of(TYPE, "a", f"c{n}") is not None]
    assert known == list(range(5 - kept, 5))
    if kept:
        assert kernel.dispatch(add(n=-1, command_id="c4")).sequence == 14
    assert kernel.dispatch(add(n=-1, command_id="c0")).sequence == 16


def test_a_kernel_that_keeps_fewer_receipts_forgets_the_older_ones(start, store):
    first = start(receipts_kept=10, snapshot_interval=1)
    for n in range(6):
        first.dispatch(add(n=n, command_id=f"c{n}"))
    snapshot_past(store, 6)
    first.stop()
    second = start(receipts_kept=2, snapshot_interval=1)
    second.dispatch(add(n=6, command_id="c6"))
    known = [n for n in range(7) if second.outcome_of(TYPE, "a", f"c{n}") is not None]
    assert known == [5, 6]


def test_a_command_known_again_after_the_window_may_be_counted_again(start, store):
    kernel = start(receipts_kept=1)
    for n in (1, 2, 1, 1):
        kernel.dispatch(add(n=n, command_id=f"c{n}"))
    assert numbers_of(store) == [1, 2, 1]
    stop_aggregate(kernel)
    assert kernel.dispatch(add(n=1, command_id="c1")).sequence == 3


def test_receipts_are_carried_in_snapshots(start, store):
    kernel = start(snapshot_interval=4)
    first = kernel.dispatch(command("add_all", [1, 2], command_id="once"))
    kernel.dispatch(command("add_all", [3, 4]))
    snapshot = snapshot_past(store, 4)
    assert [tuple(receipt) for receipt in snapshot.receipts] == [("once", 1, 2)]
    stop_aggregate(kernel)
    assert kernel.dispatch(add(command_id="once")) == first


# Order of the checks.


def test_a_repeat_is_recognised_before_its_expected_sequence_is_checked(start, store):
    kernel = start()
    once = add(n=1, command_id="once", expected_sequence=0)
    first = kernel.dispatch(once)
    kernel.dispatch(add(n=2))
    assert kernel.dispatch(once) == first
    with pytest.raises(ConcurrencyConflict):
        kernel.dispatch(add(n=3, command_id="other", expected_sequence=0))
    assert numbers_of(store) == [1, 2]


def test_a_malformed_repeat_is_still_malformed(start):
    kernel = start()
    kernel.dispatch(add(command_id="once"))
    with pytest.raises(InvalidCommand):
        kernel.dispatch(add(command_id="once", tags=(1,)))


def test_a_receipt_written_by_another_process_is_found_after_catching_up(start, store):
    kernel = start()
    kernel.dispatch(add(n=1))
    stream_id = (TYPE, "a")
    theirs = Event(stream_id, 2, "added", {"type": "added", "n": 7}, command_id="once")
    MemoryStore.append(store, stream_id, [theirs], expected_sequence=1)
    done = kernel.dispatch(add(n=7, command_id="once"))
    assert (done.sequence, done.position) == (2, 2)
    assert numbers_of(store) == [1, 7]


# What leaves no receipt.


@pytest.mark.parametrize("kind", ["refuse", "return", "raise"])
def test_a_command_that_stored_nothing_is_decided_again(kind, start, store, domain):
    kernel = start()
    for attempts in range(1, 4):
        outcome = attempt(kernel.dispatch, command(kind, None, command_id="once"))
        assert len(domain.handled) == attempts
    expected = {"refuse": CommandRejected, "raise": AggregateCrashed}
    assert isinstance(outcome, expected.get(kind, tuple))
    assert kernel.outcome_of(TYPE, "a", "once") is None
    assert kernel.dispatch(add(command_id="once")).sequence == 1


def test_the_outcome_of_an_unknown_command_is_none(start, store):
    kernel = start()
    assert kernel.outcome_of(TYPE, "new", "x") is None
    kernel.dispatch(add())
    assert kernel.outcome_of(TYPE, "a", "x") is None
    assert events_of(store, "new") == []
