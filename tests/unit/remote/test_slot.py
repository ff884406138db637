"""A slot answers each call once, whatever becomes of the processes it sends them to."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter

import pytest
import remote_domain
from remote_domain import TYPE
from support import eventually, new_seed, run_threads

from eskernel import Accepted, Command
from eskernel.actors.aggregate.bound_domain import BoundDomain
from eskernel.actors.aggregate.replies import WaitedReply
from eskernel.errors import (
    CommandRejected,
    DispatchTimeout,
    EskernelError,
    KernelStopped,
    NotOwner,
    NotStorable,
    Overloaded,
    StoreUnavailable,
)
from eskernel.remote.calls import Call, CallFuture
from eskernel.remote.slot import MAX_TRIES, Slot
from eskernel.remote.wire import (
    ASK,
    COMMAND,
    STOP,
    WITHDRAWAL,
    Ask,
    Wire,
    frame_of,
    parts_of,
)

WIRE = Wire({TYPE: BoundDomain(TYPE, remote_domain)}, {})


class Way:
    """A way that a test drives: it takes parts when told to by the test."""

    def __init__(self):
        self.told = 0
        self.taken = []
        self._take = None

    def start_sending(self, take, name):
        self._take = take

    def tell(self):
        self.told += 1

    def take(self, most=1000):
        """Return the requests that leave now."""
        requests = parts_of(frame_of(self._take(most)))
        self.taken += requests
        return requests


class CountingReply:
    """A reply that counts its outcomes; claimed as others are."""

    quick = True

    def __init__(self):
        self._claim = {}
        self.outcomes = []

    def claim(self, by):
        return self._claim.setdefault("by", by) is by

    def resolve(self, outcome):
        self.outcomes.append(outcome)


def accepting(*requests):
    """Return a frame that accepts these commands."""
    return frame_of(
        [
            WIRE.pack_outcome(
                request[0], (TYPE, request[3]), Accepted((TYPE, request[3]), request[0], None, ())
            )
            for request in requests
        ]
    )


def command_call(name="a", seconds=100.0, reply=None, **options):
    request = Command(TYPE, name, "note", 1, **options)
    return Call(request, reply or WaitedReply(), time.monotonic() + seconds)


def ask_call(seconds=100.0):
    return Call(Ask("live_aggregates", ()), WaitedReply(), time.monotonic() + seconds)


def outcome(call):
    assert not is_open(call), "not answered"
    return call.reply.outcome


def is_open(call):
    return call.reply.outcome is WaitedReply().outcome


@pytest.fixture
def slot():
    return Slot(WIRE, 1000)


@pytest.fixture
def way(slot):
    way = Way()
    slot.serve(way)
    return way


def test_calls_wait_for_a_process_and_leave_in_order(slot):
    calls = [command_call(str(number)) for number in range(5)]
    for call in calls:
        slot.post(call)
    assert slot.under_way() == 5
    way = Way()
    slot.serve(way)
    assert way.told
    assert [request[3] for request in way.take(3)] == ["0", "1", "2"]
    assert [request[3] for request in way.take()] == ["3", "4"]
    assert slot.under_way() == 5
    slot.hear(accepting(*way.taken))
    assert [outcome(call).stream_id for call in calls] == [(TYPE, str(n)) for n in range(5)]
    assert slot.under_way() == 0


def test_a_call_that_cannot_be_packed_is_not_sent(slot, way):
    with pytest.raises(NotStorable):
        slot.post(Call(Command(TYPE, "a", "note", object()), WaitedReply(), 0.0))
    with pytest.raises(NotStorable):
        slot.post(Call(Ask("x", (object(),)), WaitedReply(), 0.0))
    assert way.take() == []
    assert slot.under_way() == 0


def test_more_calls_than_the_limit_are_refused_until_some_are_answered(way, slot):
    slot = Slot(WIRE, 2)
    slot.serve(way)
    slot.post(command_call())
    slot.post(command_call())
    with pytest.raises(Overloaded, match="in_flight_limit"):
        slot.post(command_call())
    slot.hear(accepting(way.take()[0]))
    slot.post(command_call())


def test_answers_to_nobody_are_passed_over(slot, way):
    slot.post(call := command_call())
    (request,) = way.take()
    slot.hear(accepting(request))
    slot.hear(accepting(request))
    assert outcome(call).sequence == request[0]


def test_an_answer_that_cannot_be_read_is_its_callers_trouble_alone(slot, way):
    slot.post(broken := ask_call())
    slot.post(sound := command_call())
    first, second = way.take()
    slot.hear(frame_of([WIRE._pack((first[0], 2, b"\xc1"))]))
    slot.hear(accepting(second))
    assert isinstance(outcome(broken), EskernelError)
    assert isinstance(outcome(sound), Accepted)


def test_a_refusal_arrives_as_what_it_is(slot, way):
    slot.post(call := command_call())
    (request,) = way.take()
    slot.hear(
        frame_of([WIRE.pack_outcome(request[0], (TYPE, request[3]), CommandRejected("no", 1))])
    )
    assert outcome(call).detail == 1


def answered(request, error):
    """Return a frame that answers a command with an error."""
    return frame_of([WIRE.pack_outcome(request[0], (TYPE, request[3]), error)])


@pytest.mark.parametrize(
    "error",
    [
        StoreUnavailable("nothing was stored"),
        KernelStopped("it was stopped"),
        Overloaded("too many"),
        DispatchTimeout("late", started=False),
        NotOwner((TYPE, "a"), "other", 1.0),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_a_second_process_did_not_do_the_first_may_have_done(slot, way, error):
    slot.post(call := command_call(command_id="its"))
    way.take()
    slot.lose("it died")
    slot.serve(second := Way())
    (request,) = second.take()
    slot.hear(answered(request, error))
    found = outcome(call)
    assert getattr(found, "outcome_unknown", False) or getattr(found, "started", False)


def leaving():
    return frame_of([WIRE.pack_leaving()])


def test_what_a_process_that_leaves_has_not_done_the_next_one_does(slot, way):
    slot.post(first := command_call("a"))
    slot.post(second := command_call("a"))
    requests = way.take()
    assert slot.hear(leaving())
    slot.pause("it was told to end")
    slot.hear(answered(requests[0], KernelStopped("it is being stopped")))
    slot.hear(answered(requests[1], KernelStopped("it is being stopped")))
    assert is_open(first)
    assert is_open(second)
    slot.lose("it ended")
    slot.serve(successor := Way())
    again = successor.take()
    assert [one[0] for one in again] == [one[0] for one in requests], "in order"
    slot.hear(accepting(*again))
    assert isinstance(outcome(first), Accepted)
    assert isinstance(outcome(second), Accepted)


def test_a_process_that_leaves_a_stopped_kernel_says_so(slot, way):
    slot.post(call := command_call())
    (request,) = way.take()
    slot.close("it was stopped")
    slot.hear(answered(request, KernelStopped("it is being stopped")))
    assert isinstance(outcome(call), KernelStopped)


# Withdrawing.


def test_what_is_withdrawn_before_it_is_sent_is_never_sent(slot, way):
    slot.post(call := command_call())
    slot.post(other := command_call("other"))
    slot.withdraw(call)
    assert not outcome(call).started
    assert [request[3] for request in way.take()] == ["other"]
    assert is_open(other)


def test_what_is_withdrawn_after_it_was_sent_is_asked_back(slot, way):
    slot.post(call := command_call())
    (request,) = way.take()
    slot.withdraw(call)
    assert is_open(call), "the process says whether it has begun"
    assert [one[:2] for one in way.take()] == [[request[0], WITHDRAWAL]]
    late = DispatchTimeout("late", started=False)
    slot.hear(frame_of([WIRE.pack_outcome(request[0], (TYPE, request[3]), late)]))
    assert not outcome(call).started


def test_a_question_that_is_withdrawn_is_answered_at_once(slot, way):
    slot.post(call := ask_call())
    (request,) = way.take()
    slot.withdraw(call)
    assert outcome(call).started
    assert slot.under_way() == 0
    assert way.take() == []
    slot.hear(frame_of([WIRE.pack_value(request[0], [])]))  # too late


def test_a_call_withdrawn_while_there_is_no_process_to_send_it_to_again_is_answered(slot, way):
    slot.post(call := command_call(command_id="its"))
    way.take()
    slot.lose("its process died")
    slot.withdraw(call)
    assert outcome(call).started, "the dead process may have stored it"
    new = Way()
    slot.serve(new)
    assert new.take() == []


def test_a_call_withdrawn_just_before_it_is_sent_again_is_answered(slot, way):
    slot.post(call := command_call(command_id="its"))
    way.take()
    slot.lose("its process died")
    new = Way()
    slot.serve(new)
    slot.withdraw(call)
    assert [one[1] for one in new.take() if one[1] == COMMAND] == []
    assert outcome(call).started


def test_withdrawing_what_is_answered_changes_nothing(slot, way):
    slot.post(call := command_call())
    slot.hear(accepting(*way.take()))
    accepted = outcome(call)
    slot.withdraw(call)
    assert call.reply.outcome is accepted
    slot.lose("its process died")
    slot.withdraw(call)
    assert call.reply.outcome is accepted


# Losing a process.


def test_what_was_sent_in_vain_is_sent_again_if_it_may_be(slot, way):
    calls = [command_call("a", command_id="1"), ask_call(), command_call("b", command_id="2")]
    for call in calls:
        slot.post(call)
    way.take(2)
    slot.post(last := command_call("c"))
    slot.lose("its process died")
    new = Way()
    slot.serve(new)
    numbers = [call.number for call in (*calls, last)]
    taken = []
    while len(taken) < 4:  # what ends processes may have to go alone
        batch = new.take()
        assert batch
        taken += batch
        for request in batch:
            if request[1] == COMMAND:
                slot.hear(accepting(request))
            else:
                slot.hear(frame_of([WIRE.pack_value(request[0], ["x"])]))
    assert [request[0] for request in taken] == numbers, "in the old order"
    assert [request[1] for request in taken] == [COMMAND, ASK, COMMAND, COMMAND]
    assert outcome(calls[1]) == ["x"]
    assert all(isinstance(outcome(one), Accepted) for one in (calls[0], calls[2], last))


def test_what_may_not_be_sent_again_has_an_unknown_outcome(slot, way):
    slot.post(call := command_call())
    way.take()
    slot.lose("worker process 7 was ended by signal 9")
    failure = outcome(call)
    assert isinstance(failure, StoreUnavailable)
    assert failure.outcome_unknown
    assert "signal 9" in str(failure)
    assert "command_id" in str(failure)


def test_what_ends_every_process_is_given_up(slot):
    slot.post(call := command_call(command_id="poison"))
    slot.post(question := ask_call())
    ended = 0
    while slot.under_way():
        way = Way()
        slot.serve(way)
        while way.take():
            continue
        slot.lose("its process died")
        ended += 1
        assert ended <= 2 * MAX_TRIES
    assert outcome(call).outcome_unknown
    assert f"{MAX_TRIES} times" in str(outcome(call))
    assert not outcome(question).outcome_unknown
    way = Way()
    slot.serve(way)
    assert way.take() == []


def test_what_may_end_processes_goes_alone_at_last(slot):
    calls = [command_call(str(number), command_id=str(number)) for number in range(2)]
    for call in calls:
        slot.post(call)
    for _ in range(MAX_TRIES - 1):
        way = Way()
        slot.serve(way)
        assert len(way.take()) == 2
        slot.lose("its process died")
    way = Way()
    slot.serve(way)
    (first,) = way.take()
    assert way.take() == []
    told = way.told
    slot.hear(accepting(first))
    assert way.told > told, "the next may go now"
    slot.hear(accepting(*way.take()))
    assert all(isinstance(outcome(call), Accepted) for call in calls)


def test_a_question_withdrawn_while_calls_are_sorted_out_is_answered_once(slot, way):
    class Withdrawing(CountingReply):
        def resolve(self, outcome):
            super().resolve(outcome)
            slot.withdraw(question)

    question = Call(Ask("live_aggregates", ()), CountingReply(), 0.0)
    slot.post(command_call(reply=Withdrawing()))
    slot.post(question)
    way.take()
    slot.lose("its process died")
    (answered,) = question.reply.outcomes
    assert isinstance(answered, DispatchTimeout)
    assert slot.under_way() == 0


def test_what_was_withdrawn_from_a_process_that_died_is_not_sent_again(slot, way):
    slot.post(call := command_call(command_id="its"))
    way.take()
    slot.withdraw(call)
    slot.lose("its process died")
    assert outcome(call).outcome_unknown
    new = Way()
    slot.serve(new)
    assert new.take() == [], "the withdrawal is gone as well"


def test_while_a_process_leaves_nothing_more_is_sent_to_it(slot, way):
    slot.post(sent := command_call())
    requests = way.take()
    assert slot.hear(frame_of([WIRE.pack_leaving()]))
    slot.pause("it was told to end")
    told = way.told
    slot.post(kept := command_call("kept"))
    assert way.told == told
    assert not slot.hear(accepting(*requests))
    assert isinstance(outcome(sent), Accepted)
    slot.lose("it ended")
    new = Way()
    slot.serve(new)
    slot.hear(accepting(*new.take()))
    assert isinstance(outcome(kept), Accepted)


# Expiring.


def test_calls_that_wait_for_too_long_are_answered_and_never_sent(slot):
    slot.post(late := command_call(seconds=0.0))
    slot.post(early := command_call("early"))
    slot.expire()
    assert not outcome(late).started
    assert "being started" in str(outcome(late))
    assert is_open(early)
    way = Way()
    slot.serve(way)
    assert [request[3] for request in way.take()] == ["early"]


def test_a_future_that_waits_for_too_long_is_answered_once(slot):
    futures = [CallFuture(lambda job: job()) for _ in range(2)]
    for future in futures:
        slot.post(command_call(seconds=0.0, reply=future))
    assert futures[1].cancel()
    for _ in range(3):
        slot.expire()
    assert isinstance(futures[0].exception(0), DispatchTimeout)
    assert slot.under_way() == 0


def test_what_was_sent_before_and_expires_may_have_been_stored(slot, way):
    slot.post(call := command_call(seconds=0.0, command_id="its"))
    way.take()
    slot.lose("its process died")
    slot.expire()
    assert outcome(call).started


# Closing.


def test_a_closed_slot_refuses_what_waits_and_what_comes(slot):
    slot.post(call := command_call())
    slot.close("it was stopped")
    assert outcome(call).reason == "it was stopped"
    with pytest.raises(KernelStopped):
        slot.post(command_call())


def test_what_was_sent_is_answered_after_closing(slot, way):
    slot.post(answered := command_call())
    slot.post(lost := command_call("lost", command_id="its"))
    slot.post(question := ask_call())
    first, *_ = way.take()
    slot.close("it was stopped")
    slot.stop(2.5)
    assert [request[1:] for request in way.take()] == [[STOP, 2.5]]
    slot.hear(accepting(first))
    assert isinstance(outcome(answered), Accepted)
    slot.lose("it was stopped")
    assert outcome(lost).outcome_unknown
    assert isinstance(outcome(question), KernelStopped)


def test_a_call_that_comes_while_a_slot_is_closed_is_refused():
    class Closing(Wire):
        def pack_command(self, number, command):
            slot.close("it was stopped")
            return super().pack_command(number, command)

    slot = Slot(Closing(WIRE.domains, {}), 10)
    slot.post(call := command_call())
    assert isinstance(outcome(call), KernelStopped)


# Futures.


def test_a_cancelled_future_is_not_sent_and_holds_nothing_up(slot, way):
    future, other = CallFuture(lambda job: job()), command_call("other")
    slot.post(command_call("cancelled", reply=future))
    slot.post(other)
    assert future.cancel()
    requests = way.take()
    assert [request[3] for request in requests] == ["other"]
    slot.hear(accepting(*requests))
    assert isinstance(outcome(other), Accepted)


def test_a_future_that_was_sent_cannot_be_cancelled(slot, way):
    done = []
    future = CallFuture(done.append)
    slot.post(command_call(reply=future))
    future.add_done_callback(lambda _: None)
    requests = way.take()
    assert not future.cancel()
    slot.hear(accepting(*requests))
    assert isinstance(future.result(0), Accepted)
    assert len(done) == 1


# From many threads.


@pytest.mark.parametrize("round_", range(3))
def test_each_call_is_answered_once_whatever_happens_at_the_same_time(round_):
    rng = random.Random(new_seed())
    slot = Slot(WIRE, 10**6)
    over = threading.Event()
    sent = Counter()
    posted = [[] for _ in range(4)]

    def post(mine, seed):
        own = random.Random(seed)
        for number in range(400):
            kind = own.randrange(4)
            reply = CountingReply()
            if kind == 0:
                request = Ask("live_aggregates", ())
            else:
                options = {"command_id": str(number)} if kind == 1 else {}
                request = Command(TYPE, f"{seed}", "note", number, **options)
            call = Call(request, reply, time.monotonic() + own.choice([0.0, 0.002, 100.0]))
            mine.append(call)
            try:
                slot.post(call)
            except KernelStopped as error:
                reply.resolve(error)
            if own.random() < 0.3:
                slot.withdraw(call)

    def be_processes(seed):
        """Serve, answer, and die, as a minder and its workers do."""
        own = random.Random(seed)
        while not over.is_set():
            way = Way()
            slot.serve(way)
            for _ in range(own.randrange(20)):
                for request in way.take(own.randrange(1, 20)):
                    answer(request, own)
            slot.lose("its process died")
            slot.expire()

    def answer(request, own):
        if request[1] in (COMMAND, ASK):
            sent[request[0]] += 1
        if own.random() < 0.1:
            return  # lost with the process, perhaps
        if request[1] == COMMAND:
            slot.hear(accepting(request))
        elif request[1] == ASK:
            slot.hear(frame_of([WIRE.pack_value(request[0], [])]))
        elif request[1] == WITHDRAWAL:
            late = DispatchTimeout("late", started=True)
            slot.hear(frame_of([WIRE.pack_outcome(request[0], (TYPE, request[3]), late)]))

    process = threading.Thread(target=be_processes, args=(rng.random(),), daemon=True)
    process.start()
    seeds = [rng.randrange(2**32) for _ in posted]
    run_threads(
        *(
            lambda mine=mine, seed=seed: post(mine, seed)
            for mine, seed in zip(posted, seeds, strict=True)
        )
    )
    eventually(lambda: slot.under_way() < 50)
    over.set()
    process.join(10)
    slot.close("it was stopped")
    slot.lose("it was stopped")
    calls = [call for mine in posted for call in mine]
    assert {len(call.reply.outcomes) for call in calls} == {1}
    for call in calls:
        assert call.tries == sent[call.number] <= (MAX_TRIES if call.repeatable else 1)
        (answered,) = call.reply.outcomes
        if isinstance(answered, DispatchTimeout) and not answered.started:
            assert call.tries == 0, "what was said to be safe to repeat was sent"
    assert slot.under_way() == 0
