"""The rows of the failure table: what the caller gets, and what is left of the system."""

from __future__ import annotations

import threading
import time

import pytest
from kernel_helpers import (
    TYPE,
    Gate,
    Tally,
    add,
    attempt,
    command,
    events_of,
    numbers_of,
    run_script,
    snapshot_past,
    unavailable,
)
from support import eventually

from eskernel import Command, Event, Kernel
from eskernel.errors import (
    AggregateCrashed,
    CommandRejected,
    ConcurrencyConflict,
    CorruptStore,
    DispatchTimeout,
    InvalidCommand,
    KernelStopped,
    Overloaded,
    ReentrantDispatch,
    StoreUnavailable,
    UnknownAggregateType,
)
from eskernel.testing import ManualClock
from eskernel_stores import MemoryStore

FUNCTIONS = ["init", "handle_command", "event_type", "apply_event"]


def in_background(function, *arguments, **options):
    """Run a function on a thread of its own; return what collects its outcome."""
    outcomes = []
    thread = threading.Thread(
        target=lambda: outcomes.append(attempt(function, *arguments, **options)), daemon=True
    )
    thread.start()

    def outcome():
        thread.join(20)
        return outcomes[0]

    return outcome


def fail(*_):
    raise ZeroDivisionError("asked to")


def queued(kernel, aggregate_id="a"):
    return kernel.tree().find(f"{TYPE}/{aggregate_id}").queued


# The domain refuses.


def test_a_refusal_reaches_the_caller_and_changes_nothing(start, store):
    kernel = start()
    kernel.dispatch(add(n=5))
    ref = kernel.aggregate_ref(TYPE, "a")
    with pytest.raises(CommandRejected) as refusal:
        kernel.dispatch(command("refuse", {"because": [1]}))
    assert (refusal.value.reason, refusal.value.detail) == ("refused", {"because": [1]})
    assert kernel.state_of(TYPE, "a") == ({"total": 5, "count": 1}, 1)
    assert ref.is_alive()
    assert len(events_of(store)) == 1


# The domain raises.


@pytest.mark.parametrize("function", FUNCTIONS[1:])
def test_a_domain_that_raises_ends_its_actor_and_stores_nothing(function, start, store, domain):
    kernel = start()
    kernel.dispatch(add(n=5))
    ref = kernel.aggregate_ref(TYPE, "a")
    domain.hooks[function] = fail
    with pytest.raises(AggregateCrashed) as crash:
        kernel.dispatch(add(n=7))
    assert isinstance(crash.value.__cause__, ZeroDivisionError)
    assert (crash.value.stream_id, crash.value.retry_after) == ((TYPE, "a"), None)
    assert not ref.is_alive()
    domain.hooks.clear()
    assert numbers_of(store) == [5]
    assert kernel.dispatch(add(n=1)).sequence == 2
    assert kernel.state_of(TYPE, "a") == ({"total": 6, "count": 2}, 2)


def test_a_domain_may_raise_what_cannot_even_be_shown(start, store, domain):
    class Wordless(Exception):
        def __str__(self) -> str:
            return self.missing

    def raise_it(*_):
        raise Wordless

    kernel = start()
    domain.hooks["handle_command"] = raise_it
    with pytest.raises(AggregateCrashed, match="Wordless") as crash:
        kernel.dispatch(add(n=7))
    assert isinstance(crash.value.__cause__, Wordless)
    domain.hooks.clear()
    assert kernel.dispatch(add(n=1)).sequence == 1


def test_events_before_the_one_that_crashes_are_not_stored_either(start, store, domain):
    domain.hooks["apply_event"] = lambda payload, _state: payload["n"] == 3 and fail()
    kernel = start()
    with pytest.raises(AggregateCrashed):
        kernel.dispatch(command("add_all", [1, 2, 3]))
    assert events_of(store) == []
    assert kernel.state_of(TYPE, "a") == ({"total": 0, "count": 0}, 0)


def test_commands_queued_behind_a_crash_move_to_a_fresh_actor_in_order(start, store, domain):
    kernel = start()
    with Gate() as gate:
        domain.hooks["handle_command"] = lambda cmd, _state: cmd.type == "raise" and gate()
        crashing = in_background(kernel.dispatch, command("raise"))
        gate.wait()
        futures = [kernel.submit(add(n=n)) for n in range(5)]
    assert isinstance(crashing(), AggregateCrashed)
    assert [future.result(5).sequence for future in futures] == [1, 2, 3, 4, 5]
    assert numbers_of(store) == [0, 1, 2, 3, 4]


def test_crashes_never_escalate(start):
    kernel = start()
    for number in range(200):
        with pytest.raises(AggregateCrashed):
            kernel.dispatch(command("raise", aggregate_id=f"c{number % 7}"))
    assert kernel.dispatch(add("other")).sequence == 1
    assert all(node.alive and not node.restarts for node in kernel.tree().walk())


# Rehydration fails.


@pytest.mark.parametrize("function", ["init", "apply_event"])
def test_a_failing_rehydration_backs_off_and_recovers(function, start, store, domain):
    MemoryStore.append(
        store, (TYPE, "a"), [Event((TYPE, "a"), 1, "added", {"n": 5})], expected_sequence=0
    )
    clock = ManualClock()
    kernel = start(clock=clock, passivation_timeout=10_000)
    folds = []
    store.on_fold = lambda stream_id: stream_id == (TYPE, "a") and folds.append(stream_id)
    called = []
    domain.hooks[function] = lambda *_: (called.append(1), fail())
    waits = []
    for attempts in range(1, 6):
        with pytest.raises(AggregateCrashed) as crash:
            kernel.dispatch(add())
        assert isinstance(crash.value.__cause__, ZeroDivisionError)
        assert len(called) == attempts
        waits.append(crash.value.retry_after)
        with pytest.raises(AggregateCrashed) as again:
            kernel.state_of(TYPE, "a")
        assert again.value.retry_after == pytest.approx(waits[-1])
        clock.advance(waits[-1] / 2)
        with pytest.raises(AggregateCrashed) as later:
            kernel.submit(add()).result(5)
        assert later.value.retry_after == pytest.approx(waits[-1] / 2)
        assert len(called) == attempts, "it was not tried while backing off"
        clock.advance(waits[-1] / 2 + 0.001)
    assert min(waits) > 0
    assert waits[-1] > 2 * waits[0]
    domain.hooks.clear()
    assert kernel.dispatch(add(n=2)).sequence == 2
    assert kernel.state_of(TYPE, "a") == ({"total": 7, "count": 2}, 2)


def test_an_aggregate_that_cannot_be_rebuilt_leaves_the_others_alone(start, store, domain):
    kernel = start()
    domain.hooks["apply_event"] = lambda payload, _state: payload["n"] == "bad" and fail()
    MemoryStore.append(
        store, (TYPE, "a"), [Event((TYPE, "a"), 1, "added", {"n": "bad"})], expected_sequence=0
    )
    with pytest.raises(AggregateCrashed):
        kernel.dispatch(add())
    assert kernel.dispatch(add("other")).sequence == 1
    assert len(events_of(store)) == 1


# Unknown, malformed, unserialisable.


def test_an_unknown_type_is_named_together_with_the_known_ones(start):
    kernel = start()
    for call in (kernel.dispatch, kernel.submit):
        with pytest.raises(UnknownAggregateType) as error:
            call(Command("talley", "a", "add", 1))
        assert (error.value.aggregate_type, error.value.known) == ("talley", (TYPE,))
    assert kernel.live_aggregates() == []


@pytest.mark.parametrize(
    ("payload", "path"),
    [
        ({"type": "added", "n": object()}, "payload['n']"),
        ({"type": "added", "n": 1, "more": [1, {"x": {1, 2}, "y": Tally}]}, "payload['more'][1]"),
        ({"type": "added", "n": 1, "bytes": bytearray(b"x")}, "payload['bytes']"),
    ],
)
def test_an_event_that_cannot_be_stored_is_refused_with_its_path(payload, path, start, store):
    kernel = start()
    kernel.dispatch(add(n=5))
    ref = kernel.aggregate_ref(TYPE, "a")
    with pytest.raises(InvalidCommand) as refusal:
        kernel.dispatch(command("return", payload))
    assert path in str(refusal.value)
    assert ref.is_alive()
    assert numbers_of(store) == [5]
    assert kernel.state_of(TYPE, "a") == ({"total": 5, "count": 1}, 1)


# Another process won.


def rival(store, aggregate_id="a", n=100):
    """Append an event as another process would."""
    stream_id = (TYPE, aggregate_id)
    last = len(events_of(store, aggregate_id))
    event = Event(stream_id, last + 1, "added", {"type": "added", "n": n})
    MemoryStore.append(store, stream_id, [event], expected_sequence=last)


def test_a_command_decided_on_an_old_state_is_decided_again_on_the_new_one(start, store, domain):
    kernel = start()
    kernel.dispatch(add(n=1))
    rival(store)
    assert kernel.dispatch(add(n=2)).sequence == 3
    assert kernel.state_of(TYPE, "a") == ({"total": 103, "count": 3}, 3)


def test_a_rival_that_always_wins_means_a_conflict_after_bounded_retries(start, store, domain):
    kernel = start()
    kernel.dispatch(add(n=1))
    store.attempts = 0
    store.hook_append = lambda _stream: rival(store, n=0)
    with pytest.raises(ConcurrencyConflict) as conflict:
        kernel.dispatch(add(n=2))
    store.hook_append = None
    assert conflict.value.stream_id == (TYPE, "a")
    assert 2 <= store.attempts <= 50
    assert 2 not in numbers_of(store)
    last = len(events_of(store))
    assert kernel.dispatch(add(n=3)).sequence == last + 1


def test_with_an_expected_sequence_a_conflict_comes_at_once(start, store, domain):
    kernel = start()
    kernel.dispatch(add(n=1))
    rival(store)
    with pytest.raises(ConcurrencyConflict) as conflict:
        kernel.dispatch(add(n=2, expected_sequence=1))
    assert (conflict.value.expected, conflict.value.actual) == (1, 2)
    assert len(domain.handled) <= 2
    assert kernel.dispatch(add(n=3, expected_sequence=2)).sequence == 3


# A domain function calls the kernel.


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("call", ["dispatch", "submit", "state_of"])
def test_a_domain_function_cannot_call_the_kernel(function, call, start, store, domain):
    kernel = start()
    arguments = (TYPE, "other") if call == "state_of" else (add("other"),)
    caught = []

    def reenter(*_):
        caught.append(attempt(getattr(kernel, call), *arguments))

    domain.hooks[function] = reenter
    assert kernel.dispatch(add("a")).sequence == 1, "a domain that swallows it may go on"
    assert kernel.submit(add("b")).result(5).sequence == 1
    assert caught
    assert {type(one) for one in caught} == {ReentrantDispatch}
    assert "domain" in str(caught[0])
    assert events_of(store, "other") == []


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("call", ["dispatch", "submit", "state_of"])
def test_the_caller_of_such_a_domain_gets_reentrant_dispatch(function, call, start, store, domain):
    kernel = start()
    arguments = (TYPE, "other") if call == "state_of" else (add("other"),)
    domain.hooks[function] = lambda *_: getattr(kernel, call)(*arguments)
    with pytest.raises(ReentrantDispatch):
        kernel.dispatch(add(), timeout=5)
    domain.hooks.clear()
    assert events_of(store) == []
    assert kernel.dispatch(add()).sequence == 1


def test_a_domain_cannot_reach_another_aggregate_through_the_same_thread_afterwards(start, domain):
    kernel = start()
    domain.hooks["handle_command"] = lambda *_: kernel.dispatch(add("other"))
    attempt(kernel.dispatch, add())
    domain.hooks.clear()
    assert kernel.dispatch(add("other")).sequence == 1


# The store fails.


def test_while_the_store_is_down_the_actor_lives_and_tries_again(start, store):
    kernel = start()
    kernel.dispatch(add(n=5))
    ref, folded = kernel.aggregate_ref(TYPE, "a"), len(store.folded)
    store.hook_append = unavailable(outcome_unknown=False)
    for _ in range(3):
        with pytest.raises(StoreUnavailable) as error:
            kernel.dispatch(add(n=6))
        assert error.value.outcome_unknown is False
    store.hook_append = None
    assert kernel.dispatch(add(n=7)).sequence == 2
    assert ref.is_alive()
    assert len(store.folded) == folded, "nothing was forgotten"
    assert numbers_of(store) == [5, 7]


def test_a_store_that_cannot_be_read_is_asked_again_by_the_next_command(start, store):
    kernel = start()
    store.on_fold = unavailable(outcome_unknown=False)
    with pytest.raises(StoreUnavailable):
        kernel.dispatch(add())
    with pytest.raises(StoreUnavailable):
        kernel.state_of(TYPE, "a")
    store.on_fold = None
    assert kernel.dispatch(add()).sequence == 1


def raise_os_error(_stream_id):
    raise OSError("no route to host")


@pytest.mark.parametrize("failure", [unavailable(outcome_unknown=True), raise_os_error])
@pytest.mark.parametrize("stored", [False, True])
def test_an_unknown_outcome_is_found_out_before_the_next_command(failure, stored, start, store):
    kernel = start()
    kernel.dispatch(add(n=5))
    if stored:
        store.after_append = failure
    else:
        store.hook_append = failure
    once = add(n=6, command_id="once")
    with pytest.raises(StoreUnavailable) as error:
        kernel.dispatch(once)
    assert error.value.outcome_unknown is True
    store.hook_append = store.after_append = None
    folded = len(store.folded)
    expected = {"total": 11, "count": 2} if stored else {"total": 5, "count": 1}
    assert kernel.state_of(TYPE, "a") == (expected, expected["count"])
    assert len(store.folded) > folded, "it was rehydrated"
    assert kernel.dispatch(once).sequence == 2
    assert numbers_of(store) == [5, 6]


def test_a_store_that_raises_something_foreign_while_it_is_read_keeps_nobody_waiting(start, store):
    kernel = start(snapshot_interval=1)
    kernel.dispatch(add())
    snapshot_past(store, 1)
    kernel.stop()
    kernel.start()
    store.on_fold = raise_os_error
    for call in (lambda: kernel.state_of(TYPE, "a", timeout=5), lambda: kernel.dispatch(add())):
        assert isinstance(attempt(call), StoreUnavailable | AggregateCrashed)
    store.on_fold = None
    assert eventually(lambda: attempt(kernel.state_of, TYPE, "a", timeout=1) == (_state(1), 1))


def _state(count):
    return {"total": count, "count": count}


def damage(store, payload=b"\xc1"):
    """Append an event whose bytes no codec can read."""
    event = Event((TYPE, "a"), 2, "added", None).sealed(lambda *_: payload, lambda data: data)
    MemoryStore.append(store, (TYPE, "a"), [event], expected_sequence=1)


def test_damaged_events_are_named_and_nothing_is_overwritten(start, store):
    rival(store)
    damage(store)
    kernel = start()
    for call in (lambda: kernel.dispatch(add()), lambda: kernel.state_of(TYPE, "a")):
        with pytest.raises(CorruptStore) as error:
            call()
        assert (error.value.stream_id, error.value.sequence) == ((TYPE, "a"), 2)
    stored = MemoryStore.fold(store, (TYPE, "a"), lambda found, event: [*found, event.body], [])
    assert len(stored) == 2
    assert stored[1] == b"\xc1"
    assert kernel.dispatch(add("other")).sequence == 1


def test_a_hole_in_a_stream_is_damage_too(start, store):
    for _ in range(3):
        rival(store)
    whole = type(store).fold

    def with_hole(stream_id, function, initial, *rest):
        def skipping(accumulator, event):
            return accumulator if event.sequence == 2 else function(accumulator, event)

        return whole(store, stream_id, skipping, initial, *rest)

    store.fold = with_hole
    with pytest.raises(CorruptStore) as error:
        start().dispatch(add())
    assert (error.value.stream_id, error.value.sequence) == ((TYPE, "a"), 2)
    assert len(events_of(store)) == 3


# No answer in time.


def test_a_command_not_started_in_time_never_runs(start, store, domain):
    kernel = start()
    with Gate() as gate:
        domain.hooks["handle_command"] = gate
        busy = in_background(kernel.dispatch, add(n=1))
        gate.wait()
        began = time.monotonic()
        with pytest.raises(DispatchTimeout) as error:
            kernel.dispatch(add(n=2), timeout=0.05)
        assert error.value.started is False
        with pytest.raises(DispatchTimeout):
            kernel.state_of(TYPE, "a", timeout=0.05)
        assert 0.1 <= time.monotonic() - began < 3
    assert busy().sequence == 1
    kernel.dispatch(add(n=3))
    assert [handled.payload for handled in domain.handled] == [1, 3]
    assert numbers_of(store) == [1, 3]


def test_a_command_started_but_not_ended_in_time_may_still_finish(start, store, domain):
    kernel = start()
    gates = {1: Gate(), 2: Gate()}
    domain.hooks["handle_command"] = lambda cmd, _state: gates[cmd.payload]()
    with gates[1], gates[2]:
        busy = in_background(kernel.dispatch, add(n=1))
        gates[1].wait()
        late = in_background(kernel.dispatch, add(n=2, command_id="late"), timeout=0.5)
        eventually(lambda: queued(kernel) == 1)
        gates[1].open()
        gates[2].wait()
        timeout = late()
        assert isinstance(timeout, DispatchTimeout)
        assert timeout.started is True
    assert busy().sequence == 1
    assert kernel.outcome_of(TYPE, "a", "late").sequence == 2
    assert numbers_of(store) == [1, 2]


def test_dispatch_timeout_is_the_kernels_unless_the_call_has_its_own(start, domain):
    kernel = start(dispatch_timeout=0.02)
    with Gate() as gate:
        domain.hooks["handle_command"] = gate
        in_background(kernel.dispatch, add(n=1))
        gate.wait()
        with pytest.raises(DispatchTimeout):
            kernel.dispatch(add(n=2))
        patient = in_background(kernel.dispatch, add(n=3), timeout=20)
        eventually(lambda: queued(kernel) >= 1)
    assert patient().sequence == 2


# The inbox is full.


def test_a_full_inbox_refuses_at_once_and_loses_nothing_it_took(start, store, domain):
    kernel = start(inbox_limit=3)
    with Gate() as gate:
        domain.hooks["handle_command"] = gate
        busy = in_background(kernel.dispatch, add(n=0))
        gate.wait()
        futures = [kernel.submit(add(n=n)) for n in (1, 2, 3)]
        began = time.monotonic()
        for call in (kernel.submit, kernel.dispatch):
            with pytest.raises(Overloaded):
                call(add(n=9))
        with pytest.raises(Overloaded):
            kernel.state_of(TYPE, "a")
        assert time.monotonic() - began < 1
        assert kernel.aggregate_ref(TYPE, "b") is None
    assert busy().sequence == 1
    assert [future.result(5).sequence for future in futures] == [2, 3, 4]
    assert numbers_of(store) == [0, 1, 2, 3]
    assert kernel.dispatch(add(n=4)).sequence == 5


# The kernel does not run.


def assert_refuses(kernel, *words):
    for call in (
        lambda: kernel.dispatch(add()),
        lambda: kernel.submit(add()),
        lambda: kernel.state_of(TYPE, "a"),
        lambda: kernel.outcome_of(TYPE, "a", "x"),
    ):
        with pytest.raises(KernelStopped) as error:
            call()
        assert all(word in error.value.reason for word in words), error.value.reason
    assert kernel.live_aggregates() == []


def test_a_kernel_never_started_says_so(store, domain):
    kernel = Kernel({TYPE: domain}, store)
    assert_refuses(kernel, "not started", "start()")
    with pytest.raises(KernelStopped):
        kernel.tree()
    assert kernel.stop()


def test_a_stopped_kernel_says_so(start):
    kernel = start()
    kernel.dispatch(add())
    assert kernel.stop()
    assert_refuses(kernel, "stopped")
    assert not kernel.tree().alive


def test_a_kernel_whose_root_keeps_dying_fails_visibly_and_may_be_started_again(start):
    kernel = start()
    kernel.dispatch(add())
    roots = set()

    def failed():
        root = kernel.tree().ref
        if root not in roots:
            roots.add(root)
            root.stop()
        return isinstance(attempt(kernel.submit, add("b")), KernelStopped)

    eventually(failed, timeout=15)
    eventually(lambda: kernel.live_aggregates() == [])
    assert_refuses(kernel, "failed")
    assert len(roots) > 1, "it was restarted first"
    assert kernel.stop()
    kernel.start()
    assert kernel.dispatch(add("c")).sequence == 1


FORKING = """
import os, threading, warnings
from kernel_helpers import Gate, ProbedStore, Tally, TYPE, add, attempt
from eskernel import Kernel
from eskernel.errors import KernelStopped

warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of fork with threads
domain, gate = Tally(), Gate()
domain.hooks["handle_command"] = lambda command, _state: command.payload == 2 and gate()
kernel = Kernel({TYPE: domain}, ProbedStore(immediate=IMMEDIATE)).start()
kernel.dispatch(add(n=1))
running = threading.Thread(target=lambda: kernel.dispatch(add(n=2)))
running.start()
gate.wait()
child = os.fork()
if child == 0:
    with Kernel({TYPE: Tally()}, ProbedStore(immediate=IMMEDIATE)) as own:
        assert own.dispatch(add()).sequence == 1, "a new kernel works here"
    for call in (
        lambda: kernel.dispatch(add()),
        lambda: kernel.dispatch(add("new")),
        lambda: kernel.submit(add()),
        lambda: kernel.state_of(TYPE, "a"),
        lambda: kernel.outcome_of(TYPE, "a", "x"),
        kernel.start,
    ):
        error = attempt(call)
        assert isinstance(error, KernelStopped) and "fork" in error.reason, repr(error)
    assert kernel.stop() is True
    assert kernel.__exit__(None, None, None) is None
    raise SystemExit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
gate.open()
running.join()
assert kernel.dispatch(add(n=3)).sequence == 3
assert kernel.stop() is True
print("done")
"""


@pytest.mark.parametrize("immediate", [True, False])
def test_a_forked_child_is_refused_and_its_stop_and_exit_do_nothing(immediate):
    assert run_script(f"IMMEDIATE = {immediate}\n{FORKING}").splitlines()[-1] == "done"
