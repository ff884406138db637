"""The door: what Pykka's ActorRef needs of an actor without a thread, an inbox or an event."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, cast

import pykka
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
from eskernel.errors import InvalidCommand, Overloaded
from eskernel.values import Command

if TYPE_CHECKING:
    from eskernel.actors.aggregate.routing import Routed
    from eskernel.values import StreamId


class Door:
    """Pykka's inbox for an aggregate: what is put here goes into the mailbox and to the pool."""

    def __init__(self, actor: Routed) -> None:
        self._actor = actor

    def put(
        self,
        envelope: Envelope[Any],
        /,
        block: bool = True,  # noqa: ARG002 - Pykka's signature
        timeout: float | None = None,  # noqa: ARG002
    ) -> None:
        """Queue a message; one to a dead actor is answered with ActorDeadError."""
        request = _as_request(envelope)
        try:
            self._check(envelope.message)
            self._actor.post(request, limited=not isinstance(request, StopRequest))
        except (InvalidCommand, Overloaded) as error:
            if envelope.reply_to is None:
                raise
            request.reply.resolve(error)

    def _check(self, message: Any) -> None:
        stream_id = self._actor.stream_id
        if isinstance(message, Command) and message.stream_id != stream_id:
            raise InvalidCommand(
                f"{message.stream_id} was sent to the actor of {stream_id}; dispatch it instead"
            )

    def get(
        self,
        block: bool = True,  # noqa: ARG002 - Pykka's signature
        timeout: float | None = None,  # noqa: ARG002
    ) -> Envelope[Any]:
        """Raise: only the actor's owner takes messages."""
        raise ActorDeadError("an aggregate actor has no thread that could take a message")

    def empty(self) -> bool:
        """Return whether no message waits."""
        return not self._actor.mailbox


class StoppedFlag:
    """Pykka's `actor_stopped` event for an aggregate; read-only."""

    def __init__(self, actor: Routed) -> None:
        self._actor = actor

    def is_set(self) -> bool:
        """Return whether the actor has ended."""
        return self._actor.life.over


class ThreadlessActor(pykka.Actor):
    """What Pykka's ActorRef needs of an actor, made when asked for.

    The actor is not entered in Pykka's ActorRegistry, which removes in O(n).
    """

    __slots__ = ("known_ref", "stream_id")

    known_ref: pykka.ActorRef[Any] | None
    stream_id: StreamId

    @property
    def actor_ref(self) -> pykka.ActorRef[Any]:
        """Pykka's reference to this actor."""
        if self.known_ref is None:
            self.known_ref = pykka.ActorRef(self)
        return self.known_ref

    @property
    def actor_urn(self) -> str:  # type: ignore[override]
        """A name for this very actor."""
        return uuid.uuid5(uuid.NAMESPACE_OID, f"{id(self)} {self.stream_id}").urn

    @property
    def actor_inbox(self) -> Any:  # type: ignore[override]
        """What Pykka's reference puts messages into."""
        return Door(cast("Routed", self))

    @property
    def actor_stopped(self) -> Any:  # type: ignore[override]
        """What Pykka's reference asks whether the actor has ended."""
        return StoppedFlag(cast("Routed", self))

    def _start_actor_loop(self) -> None:
        raise NotImplementedError("it has no loop: an AggregateSupervisor starts aggregates")

    @staticmethod
    def _create_actor_inbox() -> Any:
        raise NotImplementedError("it has no inbox: an AggregateSupervisor starts aggregates")

    @staticmethod
    def _create_future() -> pykka.ThreadingFuture[Any]:
        return pykka.ThreadingFuture()


def _as_request(envelope: Envelope[Any]) -> Request:
    reply = PykkaReply(envelope.reply_to)
    message = envelope.message
    if isinstance(message, _ActorStop):
        return StopRequest(reply)
    if isinstance(message, Command):
        return PykkaCommandRequest(message, reply)
    return MessageRequest(message, reply, told=envelope.reply_to is None)
