"""Unanswered: what a caller is told whose call was never sent, or got no answer."""

from __future__ import annotations

from typing import Any, Final

from eskernel.errors import (
    DispatchTimeout,
    KernelStopped,
    NotOwner,
    Overloaded,
    StoreUnavailable,
)
from eskernel.remote.calls import Call
from eskernel.values import Command

MAX_TRIES: Final = 3
"""How often a call is sent to processes that die over it; it may be what kills them."""


def is_command(call: Call) -> bool:
    """Return whether a call is a command, and not a question."""
    return isinstance(call.request, Command)


def goes_alone(call: Call) -> bool:
    """Return whether a call has one try left, and may be what ends its process."""
    return is_command(call) and call.tries == MAX_TRIES - 1


def never_begun(why: str) -> DispatchTimeout:
    """Return the error for a command that was not sent in time."""
    return DispatchTimeout.because(f"not sent in time, as {why}", started=False)


def may_finish() -> DispatchTimeout:
    """Return the error for a command that was sent, and not answered in time."""
    return DispatchTimeout.because(
        "no answer in time from the process that has the command", started=True
    )


def lost(call: Call, why: str) -> StoreUnavailable:
    """Return the error for a call that was sent to a process which has ended.

    Args:
        call: not sent again.
        why: what became of the process.
    """
    if not is_command(call):
        return StoreUnavailable(f"no answer, as {why}; ask again")
    advice = (
        f"sent {call.tries} times, and given up: look whether it is what ends the process"
        if call.tries >= MAX_TRIES
        else "give commands a command_id, to have them sent again"
    )
    return StoreUnavailable(
        f"{why}, and took the outcome of the command along; {advice}", outcome_unknown=True
    )


def is_for_the_next(call: Call, outcome: Any) -> bool:
    """Return whether a process that leaves has not done a command, and the next one shall."""
    if not is_command(call) or not call.wanted:
        return False
    if isinstance(outcome, KernelStopped):
        return True  # it was not begun
    unknown = isinstance(outcome, StoreUnavailable) and outcome.outcome_unknown
    return unknown and call.repeatable


def of_all_tries(call: Call, outcome: Any) -> Any:
    """Return the outcome; what a later try did not do, an earlier one may have done."""
    if call.tries < 2 or not is_command(call) or not isinstance(outcome, Exception):
        return outcome
    if isinstance(outcome, DispatchTimeout):
        return outcome if outcome.started else may_finish()
    if isinstance(outcome, StoreUnavailable | KernelStopped | Overloaded | NotOwner):
        failure = StoreUnavailable(
            f"sent again to another process, which says: {outcome}", outcome_unknown=True
        )
        failure.__cause__ = outcome
        return failure
    return outcome
