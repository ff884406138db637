"""Requests: what an aggregate actor's mailbox holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pykka

from eskernel.actors.aggregate.replies import AnyReply
from eskernel.values import Command


class Request:
    """Something asked of an aggregate, and where the answer goes.

    Attributes:
        reply: where the answer goes.
        begun: whether the reply was claimed for this request; from then on it is answered.
        home: the actor in whose mailbox it belongs.
        interruptions: how often it ended a pool thread's turn before anything was appended.
        conflicts: how often somebody else had written first.
    """

    __slots__ = ("begun", "conflicts", "home", "interruptions", "reply")

    movable = True
    """Whether a fresh actor of the same stream can answer it as well."""

    def __init__(self, reply: AnyReply) -> None:
        self.reply = reply
        self.begun = False
        self.home: object = None
        self.interruptions = 0
        self.conflicts = 0

    def begin(self) -> bool:
        """Return whether it is still wanted."""
        if not self.begun:
            self.begun = self.reply.claim(self)
        return self.begun


class CommandRequest(Request):
    """A command to decide."""

    __slots__ = ("command",)

    def __init__(self, command: Command, reply: AnyReply) -> None:
        self.command = command
        self.reply = reply
        self.begun = False
        self.home: object = None
        self.interruptions = 0
        self.conflicts = 0


class ReadRequest(Request):
    """A question about the aggregate; `read(actor, state, sequence)` answers it.

    Attributes:
        command_id: when the question is what became of that command.
    """

    __slots__ = ("command_id", "read")

    def __init__(
        self,
        read: Callable[[Any, Any, int], Any],
        reply: AnyReply,
        command_id: str | None = None,
    ) -> None:
        super().__init__(reply)
        self.read = read
        self.command_id = command_id


class MessageRequest(Request):
    """Any other message sent through Pykka's reference."""

    __slots__ = ("message", "told")

    movable = False

    def __init__(self, message: Any, reply: AnyReply, *, told: bool) -> None:
        super().__init__(reply)
        self.message = message
        self.told = told


class StopRequest(Request):
    """Pykka's stop."""

    __slots__ = ()

    movable = False


class PykkaCommandRequest(CommandRequest):
    """A command sent to one very actor, through Pykka's reference."""

    __slots__ = ()

    movable = False


def dead(actor: object) -> pykka.ActorDeadError:
    """Return Pykka's error for a message that came too late."""
    return pykka.ActorDeadError(f"{actor} stopped before handling the message")
