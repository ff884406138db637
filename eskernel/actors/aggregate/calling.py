"""Calling: from a thread that waits, through an aggregate's mailbox, to the outcome."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from eskernel.actors.aggregate.limits import check_seconds
from eskernel.actors.aggregate.replies import WaitedReply
from eskernel.actors.aggregate.requests import CommandRequest, ReadRequest, Request
from eskernel.errors import DispatchTimeout, InvalidDomain, NotStorable

if TYPE_CHECKING:
    from eskernel.actors.aggregate.routing import Aggregate
    from eskernel.actors.aggregate.services import Services
    from eskernel.values import Accepted, Command


def dispatch_queued(
    services: Services, actor: Aggregate, command: Command, timeout: float | None
) -> Accepted:
    """Have a command decided in its turn, on this thread or another, and wait for the outcome."""
    reply = WaitedReply()
    return _wait(services, actor, CommandRequest(command, reply), reply, timeout)  # type: ignore[no-any-return]


def ask_queued(
    services: Services,
    actor: Aggregate,
    read: Callable[[Aggregate, Any, int], Any],
    command_id: str | None,
    timeout: float | None,
) -> Any:
    """Have `read(actor, state, sequence)` called in its turn, and wait for the answer."""
    reply = WaitedReply()
    return _wait(services, actor, ReadRequest(read, reply, command_id), reply, timeout)


def _wait(
    services: Services,
    actor: Aggregate,
    request: Request,
    reply: WaitedReply,
    timeout: float | None,
) -> Any:
    """Queue a request, run the actor if it is free, wait, and return or raise the outcome."""
    if timeout is None:
        seconds = services.limits.dispatch_timeout
    else:
        seconds = timeout
        check_seconds("timeout", seconds)
    deadline = time.monotonic() + seconds
    try:
        turn = services.turns.mine
        if not actor.handle_at_once(request, turn):
            actor.post(request, turn)
        in_time = reply.wait(deadline - time.monotonic())
    except BaseException:
        reply.claim(reply)  # if it has not begun, it never will
        raise
    if not in_time:
        started = not reply.claim(reply)
        raise DispatchTimeout.because(
            f"no answer from {actor.stream_id} within {seconds} s", started=started
        )
    if isinstance(reply.outcome, BaseException):
        raise reply.outcome
    return reply.outcome


def copy_state(actor: Aggregate, state: Any, sequence: int) -> Any:
    """Return a copy of the state, and the sequence; or why it cannot be copied."""
    domain = actor.domain
    try:
        return domain.unpack(domain.pack(state, "state")), sequence
    except NotStorable as error:
        return InvalidDomain(f"the state of {actor.stream_id} cannot be copied: {error}")


def recall_outcome(
    command_id: str, actor: Aggregate, _state: Any, _sequence: int
) -> Accepted | Exception | None:
    """Return what the command stored; None when its receipt is not kept."""
    receipt = (actor.receipts or {}).get(command_id)
    return None if receipt is None else actor.recall(*receipt)
