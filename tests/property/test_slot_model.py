"""A slot against a model: calls, withdrawals, answers, deaths, expiry and the end, in any order."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import remote_domain
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from remote_domain import TYPE

from eskernel import Accepted, Command
from eskernel.actors.aggregate.bound_domain import BoundDomain
from eskernel.errors import DispatchTimeout, KernelStopped, Overloaded, StoreUnavailable
from eskernel.remote.calls import Call
from eskernel.remote.slot import MAX_TRIES, Slot
from eskernel.remote.wire import WITHDRAWAL, Ask, Wire, frame_of, parts_of

WIRE = Wire({TYPE: BoundDomain(TYPE, remote_domain)}, {})
LIMIT = 12
NEVER, AT_ONCE = float("inf"), 0.0
SOME = 4


class Reply:
    """A reply that keeps every outcome it is given."""

    quick = True

    def __init__(self) -> None:
        self.outcomes: list[Any] = []
        self._claim: dict[str, object] = {}

    def claim(self, by: object) -> bool:
        return self._claim.setdefault("by", by) is by

    def resolve(self, outcome: Any) -> None:
        self.outcomes.append(outcome)


class Way:
    """A process, which gets requests when the test says so."""

    def start_sending(self, take: Any, _name: str) -> None:
        self.take = take

    def tell(self) -> None:
        """Do nothing: the test looks by itself."""


class SlotModel(RuleBasedStateMachine):
    """What a slot must do, in its own words: by call, what was sent and what may still come."""

    def __init__(self) -> None:
        super().__init__()
        self.slot = Slot(WIRE, LIMIT)
        self.way: Way | None = None
        self.closed = False
        self.calls: list[Call] = []
        self.withdrawn: set[int] = set()
        self.sent: dict[int, int] = {}  # by number, how often
        self.with_process: list[int] = []  # what the present process has, unanswered

    def _call(self, number: int) -> Call:
        return next(call for call in self.calls if call.number == number)

    def _open(self, call: Call) -> bool:
        return not call.reply.outcomes  # type: ignore[attr-defined]

    @rule(kind=st.sampled_from(["ask", "command", "repeatable"]), expires=st.booleans())
    def post(self, kind: str, expires: bool) -> None:
        command_id = str(len(self.calls)) if kind == "repeatable" else None
        request: Any = Command(TYPE, "a", "note", len(self.calls), command_id=command_id)
        if kind == "ask":
            request = Ask("live_aggregates", ())
        call = Call(request, Reply(), AT_ONCE if expires else NEVER)
        under_way = sum(map(self._open, self.calls))
        try:
            self.slot.post(call)
        except KernelStopped:
            assert self.closed
        except Overloaded:
            assert self.slot.under_way() >= LIMIT
        else:
            assert not self.closed
            assert under_way < LIMIT
            self.calls.append(call)

    @precondition(lambda self: self.way is None)
    @rule()
    def serve(self) -> None:
        self.way = Way()
        self.slot.serve(self.way)

    @precondition(lambda self: self.way is not None)
    @rule(most=st.integers(1, 5))
    def take(self, most: int) -> None:
        assert self.way is not None
        first_sends = []
        for request in parts_of(frame_of(self.way.take(most))):
            number = request[0]
            if request[1] == WITHDRAWAL:
                assert number in self.withdrawn
                continue
            call = self._call(number)
            assert self._open(call)
            assert number not in self.withdrawn, "what was withdrawn before is not sent"
            if number not in self.sent:
                first_sends.append(number)
            self.sent[number] = self.sent.get(number, 0) + 1
            assert self.sent[number] <= (MAX_TRIES if call.repeatable else 1)
            self.with_process.append(number)
        assert first_sends == sorted(first_sends)
        before = [call.number for call in self.calls if call.number not in self.sent]
        waiting = [number for number in before if self._open(self._call(number))]
        assert not waiting or not first_sends or first_sends[-1] < waiting[0], "in order"

    @precondition(lambda self: self.with_process)
    @rule(data=st.data(), late=st.booleans())
    def answer(self, data: st.DataObject, late: bool) -> None:
        number = data.draw(st.sampled_from(self.with_process))
        self.with_process.remove(number)
        call = self._call(number)
        if isinstance(call.request, Ask):
            reply = WIRE.pack_value(number, ["answer"])
        elif late and number in self.withdrawn:
            reply = WIRE.pack_outcome(number, (TYPE, "a"), DispatchTimeout("late", started=False))
        else:
            reply = WIRE.pack_outcome(number, (TYPE, "a"), Accepted((TYPE, "a"), number, None, ()))
        was_open = self._open(call)
        assert not self.slot.hear(frame_of([reply]))
        assert not self._open(call)
        if was_open and isinstance(call.request, Ask):
            assert call.reply.outcomes == [["answer"]]  # type: ignore[attr-defined]

    @precondition(lambda self: any(map(self._open, self.calls)))
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from([call for call in self.calls if self._open(call)]))
        self.slot.withdraw(call)
        self.withdrawn.add(call.number)
        if call.number not in self.sent:
            (outcome,) = call.reply.outcomes
            assert isinstance(outcome, DispatchTimeout)
            assert not outcome.started

    @precondition(lambda self: self.way is not None)
    @rule()
    def lose(self) -> None:
        had, self.with_process, self.way = self.with_process, [], None
        self.slot.lose("its process died")
        for number in had:
            call = self._call(number)
            again = call.repeatable and self.sent[number] < MAX_TRIES
            kept = again and number not in self.withdrawn and not self.closed
            if isinstance(call.request, Command) and not kept:
                (outcome,) = call.reply.outcomes
                assert isinstance(outcome, StoreUnavailable)
                assert outcome.outcome_unknown

    @precondition(lambda self: self.way is not None)
    @rule()
    def say_that_it_leaves(self) -> None:
        assert self.slot.hear(frame_of([WIRE.pack_leaving()]))

    @precondition(lambda self: self.way is None)
    @rule()
    def expire(self) -> None:
        self.slot.expire()
        for call in self.calls:
            assert call.expires == NEVER or not self._open(call), "nobody waits for ever"

    @precondition(lambda self: len(self.calls) >= SOME)  # for it is the end
    @rule()
    def close(self) -> None:
        self.closed = True
        self.slot.close("it was stopped")
        waiting = {call.number for call in self.calls if self._open(call)}
        assert waiting <= set(self.with_process)

    @invariant()
    def each_call_is_answered_once_at_most(self) -> None:
        assert all(len(call.reply.outcomes) <= 1 for call in self.calls)  # type: ignore[attr-defined]

    @invariant()
    def what_is_safe_to_repeat_was_not_sent_in_vain(self) -> None:
        for call in self.calls:
            for outcome in call.reply.outcomes:  # type: ignore[attr-defined]
                if isinstance(outcome, KernelStopped) and isinstance(call.request, Command):
                    assert call.number not in self.sent

    @invariant()
    def what_is_under_way_is_known(self) -> None:
        sent_or_waiting = [call for call in self.calls if self._open(call)]
        assert self.slot.under_way() >= len(sent_or_waiting)

    def teardown(self) -> None:
        if self.way is not None:
            self.lose()
        self.slot.close("it was stopped")
        assert not any(map(self._open, self.calls)), "somebody waits for ever"
        assert all(len(call.reply.outcomes) == 1 for call in self.calls)  # type: ignore[attr-defined]


SlotModel.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestSlotModel = SlotModel.TestCase
