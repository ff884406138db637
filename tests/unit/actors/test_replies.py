import threading
import time
from concurrent.futures import Future

import pykka
import pytest
from support import run_threads

from eskernel.actors.aggregate.replies import FutureReply, PykkaReply, WaitedReply
from eskernel.actors.aggregate.requests import Request

ME, ANOTHER = object(), object()


def at_once(job):
    job()


def test_only_one_of_many_threads_claims_a_waited_reply():
    for _ in range(100):
        reply, claims = WaitedReply(), []
        claim = lambda reply=reply, claims=claims: claims.append(reply.claim(object()))  # noqa: E731
        run_threads(*[claim] * 8)
        assert sorted(claims) == [False] * 7 + [True]


def test_a_waiting_thread_gets_the_outcome():
    reply, got = WaitedReply(), []

    def wait():
        assert reply.wait(5)
        got.append(reply.outcome)

    run_threads(wait, lambda: reply.resolve(42))
    assert got == [42]


def test_waiting_ends_at_the_timeout_when_there_is_no_outcome():
    reply = WaitedReply()
    before = time.monotonic()
    assert not reply.wait(0.05)
    assert time.monotonic() - before >= 0.04


@pytest.mark.parametrize("timeout", [0, -1, -1e9])
def test_a_timeout_that_has_passed_does_not_wait(timeout):
    reply = WaitedReply()
    assert not reply.wait(timeout)
    reply.resolve(None)
    assert reply.wait(timeout)


def test_a_timeout_may_be_endless():
    reply = WaitedReply()
    reply.resolve(None)
    assert reply.wait(float("inf"))
    other = WaitedReply()
    threading.Timer(0.02, lambda: other.resolve(1)).start()
    assert other.wait(1e300)


@pytest.mark.parametrize("outcome", [None, False, ValueError("an error")])
def test_only_the_first_outcome_of_a_waited_reply_counts(outcome):
    reply = WaitedReply()
    reply.resolve(outcome)
    reply.resolve("too late")
    assert reply.wait(0)
    assert reply.outcome is outcome
    reply.resolve("much too late")
    assert reply.outcome is outcome


def test_the_one_who_claimed_a_waited_reply_may_ask_again():
    reply = WaitedReply()
    assert reply.claim(ME)
    assert not reply.claim(ANOTHER)
    assert reply.claim(ME)


def test_a_future_is_completed_once():
    reply = FutureReply(at_once)
    assert reply.claim(ME)
    assert reply.future.running()
    assert not reply.future.cancel()
    reply.resolve(1)
    reply.resolve(2)
    reply.resolve(ValueError("too late"))
    assert reply.future.result(timeout=0) == 1


def test_a_future_can_be_completed_without_a_claim():
    reply = FutureReply(at_once)
    reply.resolve(1)
    assert reply.future.result(timeout=0) == 1


def test_an_exception_is_raised_from_the_future():
    reply = FutureReply(at_once)
    reply.resolve(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        reply.future.result(timeout=0)


def test_a_cancelled_future_is_not_claimed_and_stays_cancelled():
    reply = FutureReply(at_once)
    assert reply.future.cancel()
    assert not reply.claim(ME)
    reply.resolve(1)
    assert reply.future.cancelled()


def test_a_future_cancelled_before_its_refusal_stays_cancelled():
    reply = FutureReply(at_once)
    reply.future.cancel()
    reply.resolve(ValueError("the kernel stopped"))
    assert reply.future.cancelled()


def test_a_future_is_either_cancelled_or_claimed():
    for _ in range(200):
        reply, said = FutureReply(at_once), {}
        cancel = lambda r=reply, s=said: s.update(cancelled=r.future.cancel())  # noqa: E731
        claim = lambda r=reply, s=said: s.update(claimed=r.claim(ME))  # noqa: E731
        run_threads(cancel, claim)
        assert said["cancelled"] != said["claimed"]


def test_cancelling_while_it_is_resolved_leaves_one_outcome():
    for _ in range(200):
        reply = FutureReply(at_once)
        run_threads(reply.future.cancel, lambda reply=reply: reply.resolve(1))
        assert reply.future.cancelled() or reply.future.result(timeout=0) == 1


def test_a_future_cancelled_in_the_middle_of_its_completion_stays_cancelled():
    class Cancelled(Future):
        def done(self):
            before = super().done()
            self.cancel()
            return before

    reply = FutureReply(at_once)
    reply.future = Cancelled()
    reply.resolve(1)
    assert reply.future.cancelled()


def test_callbacks_of_a_future_are_handed_over():
    handed_over, called = [], []
    reply = FutureReply(handed_over.append)
    reply.future.add_done_callback(called.append)
    reply.resolve(1)
    reply.future.add_done_callback(called.append)
    assert called == []
    for job in handed_over:
        job()
    assert called == [reply.future] * 2


def test_an_ask_is_answered_once():
    future = pykka.ThreadingFuture()
    reply = PykkaReply(future)
    assert reply.claim(ME)
    reply.resolve(1)
    reply.resolve(2)
    assert future.get(timeout=0) == 1


def test_an_ask_gets_the_exception_raised():
    future = pykka.ThreadingFuture()
    PykkaReply(future).resolve(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        future.get(timeout=0)


def test_a_tell_has_nobody_to_answer():
    reply = PykkaReply(None)
    assert reply.claim(ME)
    reply.resolve(1)
    reply.resolve(2)


def test_a_request_begun_stays_begun():
    request = Request(WaitedReply())
    assert request.begin()
    assert request.begin()
    assert not request.reply.claim(ME)


def test_a_request_whose_caller_gave_up_never_begins():
    reply = WaitedReply()
    request = Request(reply)
    assert reply.claim(ME)  # by the caller
    assert not request.begin()
    assert not request.begin()
    assert not request.begun
