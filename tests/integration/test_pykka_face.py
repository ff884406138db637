"""An aggregate seen through Pykka: a genuine actor behind a genuine reference."""

from __future__ import annotations

import asyncio
import threading

import pykka
import pytest
from kernel_helpers import TYPE, Gate, add, attempt, command, numbers_of
from support import eventually, run_threads

from eskernel import Accepted, Command
from eskernel.errors import (
    AggregateCrashed,
    CommandRejected,
    InvalidCommand,
    KernelStopped,
    Overloaded,
)


@pytest.fixture
def kernel(start):
    return start()


@pytest.fixture
def ref(kernel):
    kernel.dispatch(add(n=0))
    return kernel.aggregate_ref(TYPE, "a")


# What it is.


def test_it_is_a_pykka_actor_behind_a_pykka_reference(kernel, ref):
    assert type(ref) is pykka.ActorRef
    assert issubclass(ref.actor_class, pykka.Actor)
    assert isinstance(ref._actor_weakref(), pykka.Actor)
    assert ref.is_alive()
    assert kernel.aggregate_ref(TYPE, "nobody") is None


def test_its_urn_names_this_very_actor(kernel, ref):
    kernel.dispatch(add("b"))
    other = kernel.aggregate_ref(TYPE, "b")
    assert ref.actor_urn.startswith("urn:uuid:")
    assert ref.actor_urn == kernel.aggregate_ref(TYPE, "a").actor_urn
    assert ref.actor_urn != other.actor_urn
    ref.stop(timeout=5)
    kernel.dispatch(add())
    assert kernel.aggregate_ref(TYPE, "a").actor_urn != ref.actor_urn
    assert not ref.is_alive()


def test_it_is_not_in_pykkas_registry(kernel, ref):
    assert pykka.ActorRegistry.get_by_urn(ref.actor_urn) is None
    assert pykka.ActorRegistry.get_by_class(ref.actor_class) == []


def test_a_stopped_kernel_leaves_nothing_in_pykkas_registry(start):
    before = pykka.ActorRegistry.get_all()
    kernel = start()
    kernel.dispatch(add())
    kernel.stop()
    assert pykka.ActorRegistry.get_all() == before


# Messages.


def test_a_command_can_be_asked(ref, store):
    done = ref.ask(add(n=1), timeout=5)
    assert isinstance(done, Accepted)
    assert done.sequence == 2
    assert ref.ask(add(n=2), block=False).get(timeout=5).sequence == 3
    assert numbers_of(store) == [0, 1, 2]


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        (command("refuse"), CommandRejected),
        (command("raise"), AggregateCrashed),
        (add(tags=(1,)), InvalidCommand),
        (command("return", {"type": "x", "n": object()}), InvalidCommand),
        ("anything else", TypeError),
        (None, TypeError),
    ],
)
def test_an_ask_raises_what_dispatch_would(asked, error, kernel, ref):
    with pytest.raises(error):
        ref.ask(asked, timeout=5)
    assert ref.is_alive() is (error is not AggregateCrashed)
    assert kernel.dispatch(add()).sequence == 2


def test_a_command_can_be_told(ref, store):
    for n in range(1, 50):
        ref.tell(add(n=n))
    eventually(lambda: numbers_of(store) == list(range(50)))


def test_a_refusal_of_a_told_command_harms_nothing_and_a_failing_tell_ends_the_actor(ref, kernel):
    ref.tell(command("refuse"))
    assert ref.ask(add(), timeout=5).sequence == 2
    ref.tell("what it does not understand")
    eventually(lambda: not ref.is_alive())
    assert kernel.dispatch(add()).sequence == 3


@pytest.mark.parametrize(
    "elsewhere", [add("b", 7), Command("unknown", "a", "add", 7), Command(TYPE, None, "add", 7)]
)
def test_a_command_for_another_aggregate_is_refused(elsewhere, ref, store):
    error = attempt(ref.ask, elsewhere, timeout=5)
    assert numbers_of(store) == [0]
    assert isinstance(error, Exception)
    assert ref.is_alive()


def test_a_repeat_is_recognised_however_it_is_sent(kernel, ref, store):
    first = kernel.dispatch(add(n=1, command_id="once"))
    assert ref.ask(add(n=1, command_id="once"), timeout=5) == first
    ref.tell(add(n=1, command_id="once"))
    assert ref.ask(add(n=2), timeout=5).sequence == 3


def test_the_manager_takes_commands_for_any_aggregate(kernel):
    manager = kernel.tree().find("aggregate-manager").ref
    assert manager.ask(add("b"), timeout=5).result(5).stream_id == (TYPE, "b")
    assert isinstance(manager.ask(command("raise"), timeout=5).exception(5), AggregateCrashed)
    with pytest.raises(InvalidCommand):
        manager.ask(add(None), timeout=5)
    manager.tell(add("c"))
    assert eventually(lambda: kernel.state_of(TYPE, "c")[1] == 1)
    assert manager.is_alive()


def test_tell_and_ask_meet_a_full_inbox_too(start, domain):
    kernel = start(inbox_limit=2)
    with Gate() as gate:
        domain.hooks["handle_command"] = gate
        kernel.submit(add())
        gate.wait()
        ref = kernel.aggregate_ref(TYPE, "a")
        ref.tell(add())
        ref.tell(add())
        with pytest.raises(Overloaded):
            ref.tell(add())
        with pytest.raises(Overloaded):
            ref.ask(add(), timeout=5)
    assert eventually(lambda: attempt(kernel.state_of, TYPE, "a") == ({"total": 3, "count": 3}, 3))
    assert ref.stop(timeout=5)


# Proxies.


def test_a_proxy_reads_and_calls(ref):
    proxy = ref.proxy()
    assert proxy.stream_id.get(timeout=5) == (TYPE, "a")
    assert proxy.actor_urn.get(timeout=5) == ref.actor_urn
    assert proxy.waiting().get(timeout=5) == 0
    with pytest.raises(AttributeError):
        proxy.nothing_of_that_name
    assert ref.is_alive()


def test_a_dead_actor_has_no_proxy(ref):
    proxy = ref.proxy()
    ref.stop(timeout=5)
    with pytest.raises(pykka.ActorDeadError):
        ref.proxy()
    with pytest.raises(pykka.ActorDeadError):
        proxy.stream_id.get(timeout=5)


# The end.


def test_a_blocking_stop_returns_when_it_has_ended(ref, kernel):
    assert ref.stop(timeout=5) is True
    assert not ref.is_alive()
    assert kernel.live_aggregates() == []
    assert ref.stop(timeout=5) is False


def test_a_stop_that_does_not_block_has_a_future(ref):
    assert ref.stop(block=False).get(timeout=5) is True
    assert not ref.is_alive()
    assert ref.stop(block=False).get(timeout=5) is False


def test_what_came_before_a_stop_is_handled_and_what_came_after_is_answered(ref, domain, store):
    with Gate() as gate:
        domain.hooks["handle_command"] = gate
        before = [ref.ask(add(n=n), block=False) for n in range(1, 4)]
        gate.wait()
        stopping = [ref.stop(block=False) for _ in range(2)]
        after = [ref.ask(add(n=9), block=False) for _ in range(3)]
    assert [future.get(timeout=5).sequence for future in before] == [2, 3, 4]
    assert all(future.get(timeout=5) in (True, False) for future in stopping)
    for future in after:
        with pytest.raises(pykka.ActorDeadError):
            future.get(timeout=5)
    assert numbers_of(store) == [0, 1, 2, 3]


def test_a_dispatch_queued_behind_a_stop_moves_on(kernel, ref, domain, store):
    with Gate() as gate:
        domain.hooks["handle_command"] = gate
        first = kernel.submit(add(n=1))
        gate.wait()
        ref.stop(block=False)
        second = kernel.submit(add(n=2))
    assert (first.result(5).sequence, second.result(5).sequence) == (2, 3)
    assert not ref.is_alive()
    assert numbers_of(store) == [0, 1, 2]


def test_messages_to_a_dead_actor_are_answered_at_once(ref):
    ref.stop(timeout=5)
    with pytest.raises(pykka.ActorDeadError):
        ref.ask(add(), timeout=5)
    with pytest.raises(pykka.ActorDeadError):
        ref.tell(add())
    # As if it had died between Pykka's look at is_alive and its put.
    future = pykka.ThreadingFuture()
    ref.actor_inbox.put(pykka._envelope.Envelope(add(), reply_to=future))
    with pytest.raises(pykka.ActorDeadError):
        future.get(timeout=5)


def test_no_ask_hangs_while_the_actor_is_stopping(kernel, store):
    accepted = []

    def ask():
        for _ in range(100):
            kernel.state_of(TYPE, "a")
            ref = kernel.aggregate_ref(TYPE, "a")
            if ref is None:
                continue
            answer = attempt(ref.ask, add(), timeout=10)
            assert isinstance(answer, Accepted | pykka.ActorDeadError), answer
            if isinstance(answer, Accepted):
                accepted.append(answer.sequence)

    def stop():
        for _ in range(100):
            ref = kernel.aggregate_ref(TYPE, "a")
            if ref is not None:
                assert ref.stop(timeout=10) in (True, False)

    run_threads(ask, ask, ask, stop, stop, timeout=40)
    assert sorted(accepted) == list(range(1, len(numbers_of(store)) + 1))


def test_asks_to_an_aggregate_of_a_stopped_kernel_never_hang(kernel, ref, domain):
    with Gate() as gate:
        domain.hooks["handle_command"] = gate
        running = ref.ask(add(), block=False)
        gate.wait()
        waiting = ref.ask(add(), block=False)
        stopping = threading.Thread(target=kernel.stop)
        stopping.start()
        eventually(lambda: not ref.is_alive())
    stopping.join(10)
    assert isinstance(attempt(running.get, timeout=5), Accepted)
    late = attempt(ref.ask, add(), timeout=5)
    for answer in (attempt(waiting.get, timeout=5), late):
        assert isinstance(answer, pykka.ActorDeadError | KernelStopped)
    assert ref.stop(timeout=5) is False


# The host's other actors.


class Neighbour(pykka.ThreadingActor):
    """An actor of the host's own."""

    use_daemon_thread = True


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_nothing_that_happens_here_stops_the_hosts_actors(error, start, domain, monkeypatch):
    calls = []
    monkeypatch.setattr(pykka.ActorRegistry, "stop_all", lambda *_, **__: calls.append(1))
    neighbour = Neighbour.start()
    try:
        kernel = start()

        def fail(one, _state):
            if one.payload == "fail":
                raise error("from the domain")

        domain.hooks["handle_command"] = fail
        with pytest.raises(error):
            kernel.dispatch(add(n="fail"))
        assert isinstance(kernel.submit(add(n="fail")).exception(5), Exception)
        assert kernel.dispatch(add(), timeout=5).sequence == 1
        kernel.stop()
        assert calls == []
        assert neighbour.is_alive()
    finally:
        neighbour.stop(timeout=5)


@pytest.mark.parametrize("error", [SystemExit, asyncio.CancelledError])
@pytest.mark.parametrize("how", ["tell", "submit"])
def test_what_a_domain_raises_on_one_command_never_reaches_the_caller_of_another(
    how, error, kernel, ref, domain
):
    outcomes = []

    def raise_on_two(one, _state):
        if one.payload == 2:
            raise error("from the domain")
        gate()

    def dispatch():
        try:
            outcomes.append(kernel.dispatch(add(n=1)))
        except BaseException as caught:
            outcomes.append(caught)

    with Gate() as gate:
        domain.hooks["handle_command"] = raise_on_two
        thread = threading.Thread(target=dispatch)
        thread.start()
        gate.wait()
        if how == "tell":
            ref.tell(add(n=2))
        else:
            future = kernel.submit(add(n=2))
    thread.join(10)
    assert isinstance(outcomes[0], Accepted)
    if how == "submit":
        assert isinstance(future.exception(5), AggregateCrashed)
    assert kernel.dispatch(add(n=3), timeout=5).sequence == 3
