"""KeyboardInterrupt just after a failed append has put requests back: nothing is decided twice."""

import threading

import pytest
from support import eventually

from eskernel import Command, Rejected
from eskernel.actors.aggregate import pipeline
from eskernel_stores import MemoryStore

STREAM = ("account", "a")


class HeldStore(MemoryStore):
    """Written by the committer, which waits at the gate."""

    immediate = False

    def __init__(self):
        super().__init__()
        self.gate = threading.Event()

    def append_batch(self, commits):
        assert self.gate.wait(20)
        return super().append_batch(commits)


class Account:
    """Pays only once another process has written `other`; stops where the test wants."""

    version = "1"

    def __init__(self):
        self.slow, self.go_on = threading.Event(), threading.Event()
        self.paying, self.pay = threading.Event(), threading.Event()

    def init(self):
        return ()

    def handle_command(self, command, state):
        if command.type == "slow":
            self.slow.set()
            assert self.go_on.wait(20)
            return None
        if command.type == "pay" and "other" not in state:
            self.paying.set()
            assert self.pay.wait(20)
            return Rejected("too_early")
        return {"type": command.type}

    def apply_event(self, payload, state):
        return (*state, payload["type"])


def command(kind):
    return Command(*STREAM, kind, {})


@pytest.fixture
def store():
    return HeldStore()


@pytest.fixture
def domain():
    return Account()


def test_a_request_that_recovery_has_put_back_is_not_put_back_again(
    start, store, domain, monkeypatch
):
    kernel, other = start(domains={"account": domain}), start(domains={"account": domain})
    store.gate.set()
    kernel.dispatch(command("opened"))
    other.dispatch(command("other"))
    store.gate.clear()

    real, caller, interrupted = pipeline.recover, threading.get_ident(), []

    def recover(*arguments):
        real(*arguments)
        if threading.get_ident() == caller and not interrupted:
            interrupted.append(True)
            raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "recover", recover)
    actor = kernel._runtime.services.routes[STREAM]
    outcomes = {}

    def call(kind):
        outcomes[kind] = kernel.dispatch(command(kind), timeout=20).sequence

    def orchestrate():
        assert domain.slow.wait(20)  # the test's thread owns the actor, deciding "slow"
        paying = threading.Thread(target=call, args=("pay",), daemon=True)
        paying.start()
        eventually(lambda: bool(actor.mailbox))
        domain.go_on.set()
        assert domain.paying.wait(20)  # the same thread decides "pay" for another
        store.gate.set()  # the first append conflicts with the other process
        eventually(lambda: actor.pipeline.pending[0].result is not None)
        domain.pay.set()
        paying.join(20)

    first = threading.Thread(target=call, args=("first",), daemon=True)
    first.start()
    eventually(lambda: bool(actor.pipeline.pending))
    conductor = threading.Thread(target=orchestrate, daemon=True)
    conductor.start()
    with pytest.raises(KeyboardInterrupt):
        kernel.dispatch(command("slow"), timeout=20)
    conductor.join(20)
    first.join(20)
    state, _ = kernel.state_of(*STREAM)
    assert sorted(state) == ["first", "opened", "other", "pay"]
    assert outcomes["pay"] == state.index("pay") + 1
