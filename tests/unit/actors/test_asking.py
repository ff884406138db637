"""Asking an actor: whatever interrupts the one who asks does no harm to the actor."""

import itertools
import threading

import pykka
import pytest
import structlog
from stress.interrupter import Interrupted, Interrupter, on_cpython_3_11

from eskernel.actors.supervision import SupervisedActor, ask, stop_and_wait

DEADLINE = 5


class Worker(SupervisedActor):
    """Runs what it is sent."""

    def on_receive(self, message):
        return message()


@pytest.fixture
def worker():
    with structlog.testing.capture_logs():
        ref = Worker.start()
        yield ref
        assert stop_and_wait(ref, DEADLINE)


def test_the_answer_is_what_the_actor_returns(worker):
    assert ask(worker, lambda: 7, DEADLINE) == 7
    assert ask(worker, threading.get_ident, DEADLINE) != threading.get_ident()


def test_what_the_actor_raises_is_raised(worker):
    with pytest.raises(ZeroDivisionError) as caught:
        ask(worker, lambda: 1 / 0, DEADLINE)
    assert any("on_receive" in str(entry) for entry in caught.traceback)
    assert ask(worker, lambda: 7, DEADLINE) == 7


def test_an_answer_that_is_late_is_not_waited_for(worker):
    gate = threading.Event()
    with pytest.raises(pykka.Timeout):
        ask(worker, lambda: gate.wait(DEADLINE), 0.01)
    gate.set()
    assert ask(worker, lambda: 7, DEADLINE) == 7


def test_an_actor_that_has_ended_or_ends_by_the_message_gives_no_answer(worker):
    def end():
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(pykka.ActorDeadError):
            ask(worker, end, DEADLINE)


@on_cpython_3_11
def test_the_actor_works_on_wherever_the_one_who_asks_is_interrupted(worker):
    for point in itertools.count():
        interrupter = Interrupter(point)
        try:
            with interrupter:
                ask(worker, lambda: 7, DEADLINE)
        except Interrupted:
            pass
        assert ask(worker, lambda: 8, DEADLINE) == 8
        if interrupter.where is None:
            break
    assert point > 2
