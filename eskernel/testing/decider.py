"""Given, when, then: tests of a domain without a kernel, a store or a thread.

    account = decider(bank_account)
    rich = account.given({"type": "deposited", "amount": 100})
    rich.when("withdraw", {"amount": 10}).then({"type": "withdrawn", "amount": 10})
    rich.when("withdraw", {"amount": 101}).then_rejected("insufficient_funds")

Each step also holds the domain to its contract: functions that change an argument, that answer
the same question differently, or whose events or state cannot be stored exactly fail the test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from eskernel.actors.aggregate.bound_domain import BoundDomain
from eskernel.testing.purity import BrokenContract, call_twice, decide, evolve, stored
from eskernel.values import Command, Rejected


def decider(domain: Any, aggregate_type: str = "aggregate", aggregate_id: str = "1") -> Decider:
    """Return a test of `domain`, beginning with an aggregate without events.

    Args:
        domain: a module, or any object, with the functions of `eskernel.contracts.Domain`.
        aggregate_type: what the commands made by `when` are addressed to.
        aggregate_id: likewise.

    Raises:
        InvalidDomain: a function is missing or takes other arguments.
        BrokenContract: `init` is not pure, or its state cannot be stored exactly.
    """
    bound = BoundDomain(aggregate_type, domain)
    state = call_twice("init", bound.init, dict)
    stored(bound, state, "state")
    return Decider(bound, (aggregate_type, aggregate_id), state)


@dataclass(frozen=True, slots=True)
class Decider:
    """A domain and the state it is in; each step returns a new one.

    Attributes:
        domain: the domain under test.
        stream_id: what commands are addressed to.
        state: the events so far, folded.
    """

    domain: BoundDomain
    stream_id: tuple[str, str]
    state: Any

    def given(self, *events: Any) -> Decider:
        """Return the aggregate after these event payloads.

        Raises:
            BrokenContract: `apply_event` is not pure, or something cannot be stored exactly.
        """
        state = self.state
        for event in events:
            state = evolve(self.domain, event, state)
        return Decider(self.domain, self.stream_id, state)

    def given_commands(self, *commands: Command | str | tuple[str, Any]) -> Decider:
        """Return the aggregate after these commands, each a Command, a type or `(type, payload)`.

        Raises:
            AssertionError: a command is not accepted.
            BrokenContract: a function is not pure, or something cannot be stored exactly.
        """
        after = self
        for command in commands:
            if isinstance(command, Command | str):
                outcome = after.when(command)
            else:
                outcome = after.when(*command)
            after = outcome.then_accepted().after
        return after

    def when(self, command: str | Command, payload: Any = None) -> Outcome:
        """Return what the domain makes of a command.

        Args:
            command: the command's type, or a whole Command.
            payload: the command's payload, unless a whole Command is given.

        Raises:
            BrokenContract: a function is not pure, or something cannot be stored exactly.
        """
        if not isinstance(command, Command):
            command = Command(*self.stream_id, command, payload)
        try:
            decision = decide(self.domain, command, self.state)
            events = () if isinstance(decision, Rejected) else decision
            after = self.given(*events)
        except BrokenContract:
            raise
        except Exception as error:  # noqa: BLE001 - shown by every then_… but then_raises
            return Outcome(command, self, error, self)
        return Outcome(command, self, decision, after)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the domain made of one command.

    Every `then_…` returns the outcome itself, so that several can be chained, or raises
    AssertionError telling what was expected and what came. Values are compared with `==`.

    Attributes:
        command: the command.
        before: the aggregate it was decided on.
        result: the event payloads, or `Rejected`, or the exception the domain raised.
        after: the aggregate with these events applied; as before if there are none.
    """

    command: Command
    before: Decider
    result: tuple[Any, ...] | Rejected | Exception
    after: Decider

    def when(self, command: str | Command, payload: Any = None) -> Outcome:
        """Return what the domain makes of one more command, after this one."""
        return self.after.when(command, payload)

    def then(self, *events: Any) -> Outcome:
        """Expect exactly these event payloads, in order."""
        return self._expect(self.result == events, f"events {list(events)!r}")

    def then_accepted(self) -> Outcome:
        """Expect any events, or none; neither a rejection nor an exception."""
        return self._expect(isinstance(self.result, tuple), "to be accepted")

    def then_nothing(self) -> Outcome:
        """Expect the command to be accepted without an event."""
        return self._expect(self.result == (), "nothing to do")

    def then_rejected(self, reason: str, detail: Any = ...) -> Outcome:
        """Expect a rejection.

        Args:
            reason: the domain's word for it.
            detail: what the domain adds; anything will do if left out.
        """
        met = isinstance(self.result, Rejected) and self.result.reason == reason
        if detail is ...:
            return self._expect(met, f"to be rejected as {reason!r}")
        met = met and self.result == Rejected(reason, detail)
        return self._expect(met, f"to be rejected as {reason!r} with {detail!r}")

    def then_raises(self, error: type[Exception]) -> Outcome:
        """Expect one of the domain's functions to raise this exception, or a kind of it."""
        return self._expect(isinstance(self.result, error), f"to raise {error.__name__}")

    def then_state(self, state: Any) -> Outcome:
        """Expect this state after the command, whether or not it was accepted."""
        met = not isinstance(self.result, Exception) and self.after.state == state
        return self._expect(met, f"state {state!r}", f"state {self.after.state!r}")

    def _expect(self, met: bool, expected: str, actual: str = "") -> Outcome:
        __tracebackhide__ = True
        if met:
            return self
        result = self.result
        cause = result if isinstance(result, Exception) else None
        raise AssertionError(
            f"{self.command.type} {self.command.payload!r} on state {self.before.state!r}\n"
            f"  expected: {expected}\n"
            f"  actual:   {(not cause and actual) or _shown(result)}"
        ) from cause


def _shown(result: tuple[Any, ...] | Rejected | Exception) -> str:
    if isinstance(result, Exception):
        return f"raised {result!r}"
    if isinstance(result, Rejected):
        return f"rejected as {result.reason!r} with {result.detail!r}"
    return f"events {list(result)!r}" if result else "nothing to do"
