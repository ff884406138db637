"""A host answers each request once, whatever becomes of it."""

from __future__ import annotations

import threading

import pytest
import remote_domain
from remote_domain import TYPE
from structlog.testing import capture_logs
from support import eventually

from eskernel import Accepted, Command, Event, Kernel
from eskernel.actors.aggregate.bound_domain import BoundDomain
from eskernel.errors import (
    CommandRejected,
    DispatchTimeout,
    EskernelError,
    InvalidCommand,
    KernelStopped,
    RemoteFailure,
    UnknownProjection,
)
from eskernel.remote.host import Host
from eskernel.remote.wire import ASK, WITHDRAWAL, Ask, Wire, frame_of, parts_of
from eskernel_stores import MemoryStore

WIRE = Wire({TYPE: BoundDomain(TYPE, remote_domain)}, {})


class Sent:
    """What a host has sent, by the number of the request."""

    def __init__(self):
        self.replies = {}
        self.doubled = []

    def __call__(self, number, reply):
        if number in self.replies:
            self.doubled.append(number)
        (self.replies[number],) = parts_of(frame_of([reply]))

    def outcome(self, number, name="a"):
        reply = eventually(lambda: self.replies.get(number))
        return WIRE.outcome_of(reply, (TYPE, name))

    def value(self, number):
        return WIRE.value_of(eventually(lambda: self.replies.get(number)))


@pytest.fixture
def sent():
    sent = Sent()
    yield sent
    assert not sent.doubled


@pytest.fixture(params=[True, False], ids=["immediate", "deferred"])
def kernel(request):
    class Store(MemoryStore):
        immediate = request.param

    with capture_logs(), Kernel({TYPE: remote_domain}, Store()) as kernel:
        yield kernel


@pytest.fixture
def host(kernel, sent):
    host = Host(kernel, WIRE, sent)
    yield host
    host.close()


def requests(*parts):
    return parts_of(frame_of(parts))


def take(host, *parts):
    """Have a host take requests, and run on this thread what it leaves to its caller."""
    for run in host.take(requests(*parts)) or ():
        run()


def command(number, kind="note", payload=1, name="a", **options):
    return WIRE.pack_command(number, Command(TYPE, name, kind, payload, **options))


def ask(number, name, *arguments):
    return WIRE.pack_ask(number, Ask(name, arguments))


def test_commands_and_questions_are_answered_by_number(host, sent):
    take(host, command(1), command(2, "refuse"), command(3, payload={"x": (1,)}, command_id="its"))
    assert sent.outcome(1).sequence == 1
    assert isinstance(sent.outcome(2), CommandRejected)
    assert sent.outcome(3).events[0].payload["value"] == {"x": (1,)}
    assert host.drain(5)
    take(
        host,
        ask(4, "state_of", TYPE, "a", 5.0),
        ask(5, "outcome_of", TYPE, "a", "its", 5.0),
        ask(6, "outcome_of", TYPE, "a", "never", 5.0),
        ask(7, "live_aggregates"),
        ask(8, "tree", 5),
        ask(9, "projection", "none", "seen"),
    )
    packed, sequence = sent.value(4)
    assert (WIRE.domains[TYPE].unpack(packed), sequence) == ([1, {"x": (1,)}], 2)
    assert sent.value(5)[0] == 2
    assert sent.value(6) is None
    assert sent.value(7) == [(TYPE, "a")]
    assert sent.value(8)[0] == "kernel"
    assert isinstance(sent.value(9), UnknownProjection)


def test_a_request_that_cannot_be_begun_is_answered(host, kernel, sent):
    broken = [1, 0, TYPE, "a", "note", b"\xc1"]
    for run in host.take([broken]):
        run()
    assert isinstance(sent.outcome(1), EskernelError)
    take(host, command(2, name=""))
    assert isinstance(sent.outcome(2), InvalidCommand)
    kernel.stop()
    take(host, command(3), ask(4, "tree", 5), ask(5, "state_of", TYPE, "a", 1.0))
    assert isinstance(sent.outcome(3), KernelStopped)
    assert sent.value(4) is None or sent.value(4)[2] is False
    assert isinstance(sent.value(5), KernelStopped)
    assert host.drain(0)


def test_a_question_that_is_none_is_answered(host, sent):
    take(host, ask(1, "no such question"), ask(2, "tree", "too", "many"))
    assert isinstance(sent.value(1), KeyError)
    assert isinstance(sent.value(2), TypeError)
    for run in host.take([[3, ASK, "tree", b"\xc1"]]):
        run()
    assert isinstance(sent.value(3), EskernelError)


def test_an_answer_that_no_codec_packs_is_a_failure(host, kernel, sent, monkeypatch):
    monkeypatch.setattr(kernel, "live_aggregates", lambda: [object()])
    take(host, ask(1, "live_aggregates"))
    assert isinstance(sent.value(1), EskernelError)
    assert "answer" in str(sent.value(1))


def test_what_a_tree_without_kernel_shows_is_nothing(sent):
    host = Host(Kernel({TYPE: remote_domain}, MemoryStore()), WIRE, sent)
    take(host, ask(1, "tree", 5))
    assert eventually(lambda: 1 in sent.replies)
    assert sent.value(1) is None
    host.close()


def held(host, number, folder):
    """Have a command wait in its domain, on a thread of its own; return what lets it go."""
    go = folder / f"{number}.go"
    part = command(number, "wait", str(go))
    thread = threading.Thread(target=take, args=(host, part), daemon=True)
    thread.start()
    eventually(go.with_suffix(".begun").exists)

    def let_go():
        go.touch()
        thread.join(10)

    return let_go


def test_a_withdrawn_command_that_has_not_begun_never_does(host, kernel, sent, tmp_path):
    let_go = held(host, 1, tmp_path)
    taken = host.take(requests(command(2)))
    host.take(requests(WIRE.pack_withdrawal(2)))
    late = sent.outcome(2)
    assert isinstance(late, DispatchTimeout)
    assert not late.started
    assert not host.drain(0.01), "the first is under way"
    let_go()
    for run in taken:
        run()
    assert sent.outcome(1).sequence == 1
    assert host.drain(5)
    assert kernel.state_of(TYPE, "a")[1] == 1


def test_a_withdrawn_command_that_has_begun_may_still_finish(host, kernel, sent, tmp_path):
    let_go = held(host, 1, tmp_path)
    host.take(requests(WIRE.pack_withdrawal(1)))
    late = sent.outcome(1)
    assert isinstance(late, DispatchTimeout)
    assert late.started
    let_go()
    assert kernel.state_of(TYPE, "a")[1] == 1


def test_withdrawing_what_is_answered_or_unknown_does_nothing(host, sent):
    take(host, command(1))
    sent.outcome(1)
    assert host.drain(5)
    host.take([[1, WITHDRAWAL], [77, WITHDRAWAL]])
    assert set(sent.replies) == {1}


@pytest.mark.parametrize(
    ("raised", "kind"), [("own", RemoteFailure), ("surrogate", ArithmeticError)]
)
def test_what_a_middleware_raises_is_answered_whatever_it_is(sent, raised, kind):
    with (
        capture_logs(),
        Kernel({TYPE: remote_domain}, MemoryStore(), middleware=[remote_domain.failing]) as kernel,
    ):
        host = Host(kernel, WIRE, sent)
        take(host, command(1, "fail in middleware", raised))
        assert isinstance(sent.outcome(1), kind)
        host.close()


def test_an_outcome_of_a_middlewares_own_that_cannot_be_sent_is_a_failure(sent):
    event = Event((TYPE, "a"), 1, "noted", {"value": 1})
    accepted = Accepted((TYPE, "a"), 1, 1, (event,))
    middleware = [lambda command, call_next: accepted]
    with Kernel({TYPE: remote_domain}, MemoryStore(), middleware=middleware) as kernel:
        host = Host(kernel, WIRE, sent)
        take(host, command(1))
        assert isinstance(sent.outcome(1), Exception)
        assert host.drain(5)
        host.close()
