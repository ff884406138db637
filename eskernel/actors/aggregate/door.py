"""The door: what Pykka's ActorRef needs of an actor without a thread, an inbox or an event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pykka import ActorDeadError
from pykka._envelope import Envelope
from pykka.messages import _ActorStop

from eskernel.actors.aggregate.replies import PykkaReply
from eskernel.actors.aggregate.requests import (
    MessageRequest,
    PykkaCommandRequest,
    Request,
    StopRequest,
)
from eskernel.errors import Overloaded
from eskernel.values import Command

if TYPE_CHECKING:
    from eskernel.actors.aggregate.caller_run import CallerRunActor


class Door:
    """Pykka's inbox for an aggregate: what is put here goes into the mailbox and to the pool."""

    def __init__(self, actor: CallerRunActor) -> None:
        self._actor = actor

    def put(
        self, envelope: Envelope[Any], /, block: bool = True, timeout: float | None = None
    ) -> None:
        """Queue a message; one to a dead actor is answered with ActorDeadError."""
        request = _as_request(envelope)
        try:
            self._actor.post(request, limited=not isinstance(request, StopRequest))
        except Overloaded as error:
            if envelope.reply_to is None:
                raise
            request.reply.resolve(error)

    def get(self, block: bool = True, timeout: float | None = None) -> Envelope[Any]:
        """Raise: only the actor's owner takes messages."""
        raise ActorDeadError("an aggregate actor has no thread that could take a message")

    def empty(self) -> bool:
        """Return whether no message waits."""
        return not self._actor.mailbox


class StoppedFlag:
    """Pykka's `actor_stopped` event for an aggregate; read-only."""

    def __init__(self, actor: CallerRunActor) -> None:
        self._actor = actor

    def is_set(self) -> bool:
        """Return whether the actor has ended."""
        return self._actor.life.over


def _as_request(envelope: Envelope[Any]) -> Request:
    reply = PykkaReply(envelope.reply_to)
    message = envelope.message
    if isinstance(message, _ActorStop):
        return StopRequest(reply)
    if isinstance(message, Command):
        return PykkaCommandRequest(message, reply)
    return MessageRequest(message, reply, told=envelope.reply_to is None)
