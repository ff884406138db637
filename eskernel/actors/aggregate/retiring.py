"""Retiring: a dead actor's way out of the routing table, with what waits in its mailbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eskernel.actors.aggregate.requests import Request, StopRequest, dead
from eskernel.errors import KernelStopped

if TYPE_CHECKING:
    from eskernel.actors.aggregate.routing import Owned
    from eskernel.actors.aggregate.turns import Turn


def retire(actor: Owned, turn: Turn) -> None:
    """Answer or pass on what waits, leave the routing table, tell of the end once.

    May be repeated: after an interruption, for late requests, when there was no supervisor.

    Args:
        actor: dead, with no append in flight, owned by the calling thread.
        turn: the calling thread's.
    """
    waiting: list[Request] = []

    def leave() -> list[Request]:
        waiting.extend(actor.mailbox)
        return [one for one in waiting if one.home is actor and _passes_on(actor, one, turn)]

    if not actor.services.succeed(actor, leave):
        actor.services.strand(actor)
        return
    for _ in waiting:
        actor.mailbox.popleft()
    if not actor.announced:
        actor.announced = True
        actor.services.announce_end(actor, actor.life.reason)


def _passes_on(actor: Owned, request: Request, turn: Turn) -> bool:
    """Return whether a successor can answer a request; else answer it."""
    refusal = actor.services.refusal
    if isinstance(request, StopRequest):
        actor.answer(turn, request, None)
    elif refusal is not None:
        actor.answer(turn, request, KernelStopped(refusal))
    elif not request.movable:
        actor.answer(turn, request, dead(actor))
    else:
        return True
    return False
