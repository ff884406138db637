"""Commands in, outcomes out: what dispatch and submit promise."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, Future
from datetime import datetime

import pytest
from kernel_helpers import TYPE, Gate, add, attempt, command, events_of, numbers_of
from support import eventually

from domains import order, stock
from eskernel import Command, Event
from eskernel.errors import (
    AggregateCrashed,
    CommandRejected,
    ConcurrencyConflict,
    InvalidCommand,
    KernelStopped,
    UnknownAggregateType,
)
from eskernel.testing import ManualClock


def submit_and_wait(kernel):
    return lambda command: kernel.submit(command).result(5)


@pytest.fixture(params=["dispatch", "submit"])
def send(request):
    """Both ways to send a command and have its outcome."""
    ways = {"dispatch": lambda kernel: kernel.dispatch, "submit": submit_and_wait}
    return ways[request.param]


# Outcomes.


def test_accepted_tells_what_was_stored_and_where(start, store, send):
    kernel = start(clock=ManualClock(now=1_700_000_000.25))
    send(kernel)(add("b"))
    one = Command(
        TYPE, "a", "add_all", [3, 4], command_id="c-1", metadata={"by": ["me"]}, tags=("x", "y")
    )
    done = send(kernel)(one)
    assert (done.stream_id, done.sequence, done.position) == ((TYPE, "a"), 2, 3)
    common = ({"by": ["me"]}, ("x", "y"), 1_700_000_000_250)
    assert done.events == (
        Event((TYPE, "a"), 1, "added", {"type": "added", "n": 3}, *common, 2, "c-1"),
        Event((TYPE, "a"), 2, "added", {"type": "added", "n": 4}, *common, 3, "c-1"),
    )
    assert list(done.events) == events_of(store)


def test_events_are_stamped_by_the_kernels_clock(start):
    clock = ManualClock(now=1000)
    kernel = start(clock=clock, passivation_timeout=1000)
    stamps = []
    for _ in range(3):
        stamps += [event.timestamp for event in kernel.dispatch(add()).events]
        clock.advance(1.5)
    assert stamps == [1_000_000, 1_001_500, 1_003_000]


def test_positions_rise_across_aggregates(start):
    kernel = start()
    done = [kernel.dispatch(add(f"a{n % 3}")) for n in range(9)]
    assert [one.position for one in done] == list(range(1, 10))
    assert [one.sequence for one in done] == [1, 1, 1, 2, 2, 2, 3, 3, 3]


@pytest.mark.parametrize("nothing", [None, [], ()])
def test_a_decision_without_events_is_accepted_and_stores_nothing(nothing, start, store, send):
    kernel = start()
    kernel.dispatch(add())
    done = send(kernel)(command("return", nothing))
    assert (done.stream_id, done.sequence, done.position, done.events) == ((TYPE, "a"), 1, None, ())
    assert len(events_of(store)) == 1


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_list_or_tuple_of_payloads_is_that_many_events(kind, start, store, send):
    kernel = start()
    payloads = kind({"type": f"kind{n}", "n": n} for n in range(3))
    done = send(kernel)(command("return", payloads))
    assert [event.type for event in done.events] == ["kind0", "kind1", "kind2"]
    assert kernel.state_of(TYPE, "a") == ({"total": 3, "count": 3}, 3)


def test_event_types_come_from_the_domain_the_payload_or_the_class(start):
    kernel = start(domains={"stock": stock, "order": order})
    assert [
        event.type
        for event in kernel.dispatch(Command("stock", "s", "receive", {"quantity": 3})).events
    ] == ["stock.received"]
    placed = kernel.dispatch(Command("order", "o", "place", {"customer": "ada"}))
    assert (placed.events[0].type, placed.events[0].payload) == ("Placed", order.Placed("ada"))
    assert kernel.state_of("order", "o")[0].status is order.Status.PLACED


@pytest.mark.parametrize("payload", [5, "added", {"n": 1}, {"type": 7, "n": 1}, datetime.min])
def test_a_payload_without_a_type_is_the_domains_fault(payload, start, domain):
    domain.event_type = None
    domain.hooks["apply_event"] = lambda *_: None
    kernel = start()
    with pytest.raises(AggregateCrashed):
        kernel.dispatch(command("return", [payload]))
    assert kernel.dispatch(add()).sequence == 1


# Expected sequences.


def test_an_expected_sequence_must_be_the_present_one(start, store, send):
    kernel = start()
    assert send(kernel)(add(n=1, expected_sequence=0)).sequence == 1
    assert send(kernel)(add(n=2, expected_sequence=1)).sequence == 2
    for wrong in (0, 1, 3, 10**30):
        with pytest.raises(ConcurrencyConflict) as conflict:
            send(kernel)(add(n=3, expected_sequence=wrong))
        assert (conflict.value.expected, conflict.value.actual) == (wrong, 2)
        assert conflict.value.stream_id == (TYPE, "a")
    assert numbers_of(store) == [1, 2]


# Futures.


def test_submit_returns_before_the_command_ends(start, domain):
    kernel = start()
    with Gate() as gate:
        domain.hooks["handle_command"] = gate
        future = kernel.submit(add())
        gate.wait()
        assert isinstance(future, Future)
        assert future.running()
        assert not future.cancel()
    assert future.result(5).sequence == 1


def test_a_future_cancelled_in_time_means_a_command_that_never_runs(start, store, domain):
    kernel = start()
    with Gate() as gate:
        domain.hooks["handle_command"] = gate
        futures = [kernel.submit(add(n=0))]
        gate.wait()
        futures += [kernel.submit(add(n=n)) for n in range(1, 4)]
        assert futures[2].cancel()
        assert futures[2].cancelled()
    assert [futures[n].result(5).sequence for n in (0, 1, 3)] == [1, 2, 3]
    with pytest.raises(CancelledError):
        futures[2].result(5)
    assert numbers_of(store) == [0, 1, 3]
    assert [handled.payload for handled in domain.handled] == [0, 1, 3]


def test_the_exception_of_a_future_is_what_dispatch_would_raise(start):
    kernel = start()
    refusal = kernel.submit(command("refuse", 3)).exception(5)
    assert isinstance(refusal, CommandRejected)
    assert refusal.detail == 3
    assert isinstance(kernel.submit(command("raise")).exception(5), AggregateCrashed)


def test_a_callback_may_use_the_kernel_and_its_failure_harms_nothing(start):
    kernel = start()
    done = []
    called = threading.Event()

    def go_on(future):
        done.append(future.result().sequence)
        done.append(kernel.dispatch(add(), timeout=5).sequence)
        done.append(kernel.state_of(TYPE, "a", timeout=5)[1])
        called.set()
        raise RuntimeError("a callback's own affair")

    kernel.submit(add()).add_done_callback(go_on)
    assert called.wait(10)
    assert done == [1, 2, 2]
    assert kernel.submit(add()).result(5).sequence == 3


def test_callbacks_run_on_a_pool_thread_and_keep_no_dispatching_thread_waiting(start, domain):
    kernel = start()
    with Gate() as gate, Gate() as callback_gate:
        domain.hooks["handle_command"] = lambda one, _state: one.payload == 1 and gate()
        outcomes = []
        caller = threading.Thread(target=lambda: outcomes.append(kernel.dispatch(add(n=1))))
        caller.start()
        gate.wait()
        ran_on = []

        def callback(_future):
            ran_on.append(threading.current_thread())
            callback_gate()

        kernel.submit(add(n=2)).add_done_callback(callback)
        gate.open()
        callback_gate.wait()
        caller.join(2)
        assert outcomes, "the dispatch is kept waiting by a callback of somebody else"
        assert ran_on != [caller]


def test_callbacks_that_submit_in_turn_all_run(start, store):
    kernel = start()
    ended = threading.Event()

    def again(future):
        sequence = future.result().sequence
        if sequence == 300:
            ended.set()
        else:
            kernel.submit(add(n=sequence)).add_done_callback(again)

    kernel.submit(add(n=0)).add_done_callback(again)
    assert ended.wait(20)
    assert numbers_of(store) == list(range(300))


def test_commands_submitted_by_one_thread_are_decided_in_order(start, store):
    kernel = start()
    futures = [kernel.submit(add(n=n)) for n in range(500)]
    assert [future.result(10).sequence for future in futures] == list(range(1, 501))
    assert numbers_of(store) == list(range(500))


# Middleware.


def test_middleware_is_called_outermost_first(start, send):
    seen = []

    def layer(name):
        def around(one, call_next):
            seen.append(f"{name} before")
            done = call_next(one)
            seen.append(f"{name} after {done.sequence}")
            return done

        return around

    kernel = start(middleware=[layer("outer"), layer("inner")])
    assert send(kernel)(add()).sequence == 1
    assert seen == ["outer before", "inner before", "inner after 1", "outer after 1"]


def test_middleware_may_pass_on_another_command(start, store, send):
    def redirect(one, call_next):
        return call_next(add("b", one.payload * 2, metadata={"by": "middleware"}))

    done = send(start(middleware=[redirect]))(add("a", 4))
    assert done.stream_id == (TYPE, "b")
    assert done.events[0].metadata == {"by": "middleware"}
    assert events_of(store, "a") == []
    assert numbers_of(store, "b") == [8]


def test_middleware_may_refuse(start, store, domain, send):
    def guard(one, call_next):
        if one.payload > 10:
            raise CommandRejected("too_much", one.payload)
        return call_next(one)

    kernel = start(middleware=[guard])
    with pytest.raises(CommandRejected) as refusal:
        send(kernel)(add(n=11))
    assert (refusal.value.reason, refusal.value.detail) == ("too_much", 11)
    assert domain.handled == []
    assert send(kernel)(add(n=10)).sequence == 1


def test_middleware_sees_the_errors_and_may_try_again(start, send):
    attempts = []

    def retry(one, call_next):
        try:
            return call_next(one)
        except CommandRejected as refusal:
            attempts.append(refusal.reason)
            return call_next(add(n=1))

    assert send(start(middleware=[retry]))(command("refuse")).sequence == 1
    assert attempts == ["refused"]


def test_middleware_that_raises_anything_reaches_only_its_caller(start, send):
    def fail(one, call_next):
        raise ZeroDivisionError("middleware")

    kernel = start(middleware=[fail])
    with pytest.raises(ZeroDivisionError):
        send(kernel)(add())
    assert all(node.alive for node in kernel.tree().walk())


@pytest.mark.parametrize("passed", [None, "add", ("tally", "a", "add", 1)])
def test_middleware_that_passes_on_no_command_is_told(passed, start, send):
    kernel = start(middleware=[lambda _one, call_next: call_next(passed)])
    with pytest.raises(InvalidCommand):
        send(kernel)(add())


def test_middleware_may_dispatch_other_commands(start, store, send):
    def audit(one, call_next):
        done = call_next(one)
        if one.aggregate_id != "audit":
            kernel.dispatch(add("audit", done.sequence))
        return done

    kernel = start(middleware=[audit])
    for _ in range(3):
        send(kernel)(add())
    assert numbers_of(store, "audit") == [1, 2, 3]


def test_many_chains_that_wait_do_not_use_up_the_threads_that_decide(start, domain):
    def through(one, call_next):
        return call_next(one)

    kernel = start(middleware=[through])
    with Gate() as gate:
        domain.hooks["handle_command"] = lambda one, _state: one.aggregate_id == "slow" and gate()
        slow = [kernel.submit(add("slow")) for _ in range(40)]
        gate.wait()
        assert kernel.dispatch(add("fast"), timeout=5).sequence == 1
    assert sorted(future.result(10).sequence for future in slow) == list(range(1, 41))


def test_a_submitted_chain_can_be_cancelled_before_it_begins(start, store):
    with Gate() as gate:

        def hold(one, call_next):
            gate()
            return call_next(one)

        kernel = start(middleware=[hold])
        futures = [kernel.submit(add(n=n)) for n in range(20)]
        gate.wait()
        assert futures[-1].cancel()
    assert eventually(lambda: all(future.done() for future in futures))
    assert sorted(numbers_of(store)) == list(range(19))


# What is malformed.


class SubCommand(Command):
    """A subclass is a Command too."""


def test_a_subclass_of_command_is_a_command(start, send):
    assert send(start())(SubCommand(TYPE, "a", "add", 1)).sequence == 1


def test_what_is_no_command_is_refused(start, send):
    kernel = start()
    for bad in (None, "add", 5, {}, [], (TYPE, "a", "add", 1), tuple(add())):
        assert isinstance(attempt(send(kernel), bad), InvalidCommand), bad
    assert kernel.live_aggregates() == []


BAD_IDS = [True, None, 0, 1.5, b"a", ["a"], {"a": 1}, {"a"}, ("a",), object(), Exception]
BAD_TEXTS = ["", "x" * 256, "\0", "a\0", "\ud800", "a\udfffb", "é" * 256]


def test_an_impossible_aggregate_id_is_refused_everywhere(start, send):
    kernel = start()
    kernel.dispatch(add())
    for bad in [*BAD_IDS, *BAD_TEXTS]:
        for call in (
            lambda bad=bad: send(kernel)(add(bad)),
            lambda bad=bad: kernel.state_of(TYPE, bad),
            lambda bad=bad: kernel.outcome_of(TYPE, bad, "x"),
        ):
            with pytest.raises(InvalidCommand, match="aggregate_id"):
                call()
    assert kernel.live_aggregates() == [(TYPE, "a")]
    assert kernel.dispatch(add()).sequence == 2


def test_an_aggregate_type_nobody_registered_is_unknown_whatever_it_is(start, send):
    kernel = start()
    for bad in [*BAD_IDS, *BAD_TEXTS, "Tally", "tally "]:
        for call in (
            lambda bad=bad: send(kernel)(Command(bad, "a", "add", 1)),
            lambda bad=bad: kernel.state_of(bad, "a"),
            lambda bad=bad: kernel.outcome_of(bad, "a", "x"),
        ):
            with pytest.raises(UnknownAggregateType):
                call()
    assert kernel.live_aggregates() == []


@pytest.mark.parametrize(
    ("part", "values"),
    [
        ("command_id", [True, 0, 1.5, b"a", ["a"], {"a": 1}, {"a"}, object(), *BAD_TEXTS]),
        ("expected_sequence", [-1, True, 1.0, "0", [], object()]),
        ("tags", ["xy", ["x"], [], None, 5, (1,), ("",), ("x\0",), ("\ud800",)]),
        ("metadata", [5, "ab", [1], {1: "x"}, {"x": object()}, {"x": "\ud800"}]),
    ],
)
def test_a_command_with_a_malformed_part_is_refused_and_harms_nothing(
    part, values, start, store, send
):
    kernel = start()
    kernel.dispatch(add(n=1))
    ref = kernel.aggregate_ref(TYPE, "a")
    outcomes = {
        repr(bad): type(attempt(send(kernel), add(n=2, **{part: bad}))).__name__ for bad in values
    }
    assert outcomes == dict.fromkeys(outcomes, "InvalidCommand")
    assert ref.is_alive()
    assert numbers_of(store) == [1]
    assert kernel.dispatch(add(n=3)).sequence == 2


def test_a_command_whose_type_is_no_string_is_refused(start, domain, send):
    kernel = start()
    for bad in (5, None, b"add", ["add"], True):
        error = attempt(send(kernel), Command(TYPE, "a", bad, 1))
        assert isinstance(error, InvalidCommand), repr(bad)
    assert domain.handled == []


class Hostile:
    def __bool__(self):
        raise RuntimeError("no truth in me")

    __eq__ = __hash__ = __repr__ = __bool__


@pytest.mark.parametrize("part", ["command_id", "expected_sequence", "tags", "metadata"])
def test_a_hostile_object_in_a_command_harms_nobody_else(part, start, send):
    kernel = start()
    assert isinstance(attempt(send(kernel), add(**{part: Hostile()})), Exception)
    assert kernel.dispatch(add(), timeout=2).sequence == 1


def test_a_payload_only_the_domain_can_judge_gets_there_and_harms_nothing(start, send):
    kernel = start()
    for payload in (object(), ValueError(), float("nan"), len, ..., NotImplemented):
        assert isinstance(attempt(send(kernel), command("unheard of", payload)), CommandRejected)
        stored = {"type": "x", "n": 1, "odd": {payload: payload}}
        outcome = attempt(send(kernel), command("return", stored))
        assert isinstance(outcome, InvalidCommand) or payload != payload, outcome
    assert send(kernel)(add()).sequence == kernel.state_of(TYPE, "a")[1]


@pytest.mark.parametrize("bad", [["a"], {"a": 1}, "\0", 5], ids=repr)
def test_asking_for_the_outcome_of_an_impossible_id_is_refused_and_harms_nothing(bad, start):
    kernel = start()
    kernel.dispatch(add(command_id="x"))
    with pytest.raises(InvalidCommand, match="command_id"):
        kernel.outcome_of(TYPE, "a", bad)
    assert kernel.dispatch(add(), timeout=2).sequence == 2


# Reading.


def test_state_of_a_new_aggregate_is_the_first_state_at_sequence_0(start, store):
    kernel = start()
    assert kernel.state_of(TYPE, "new") == ({"total": 0, "count": 0}, 0)
    assert events_of(store, "new") == []


def test_a_state_that_cannot_be_copied_is_the_domains_fault(start, domain):
    domain.apply_event = lambda _payload, _state: {"odd": [object()]}
    kernel = start()
    kernel.dispatch(add())
    error = attempt(kernel.state_of, TYPE, "a")
    assert "state['odd'][0]" in str(error)
    assert not isinstance(error, KernelStopped)


def test_live_aggregates_lists_those_used(start):
    kernel = start()
    for name in "abc":
        kernel.dispatch(add(name))
    assert sorted(kernel.live_aggregates()) == [(TYPE, "a"), (TYPE, "b"), (TYPE, "c")]
    drawn = str(kernel.tree())
    assert all(f"{TYPE}/{name} (AggregateActor)" in drawn for name in "abc")
    assert "and 1 more" in str(kernel.tree(max_aggregates=2))
