"""Interruption: what remains to be done when an exception ends an actor's turn at any bytecode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eskernel.errors import AggregateCrashed, StoreUnavailable

if TYPE_CHECKING:
    from eskernel.actors.aggregate.routing import Owned
    from eskernel.actors.aggregate.turns import Turn

MAX_INTERRUPTIONS = 1
"""How often a request that ends a pool thread's turn by a BaseException is tried again."""


def repair(actor: Owned, turn: Turn) -> None:
    """Release the actor and leave it as if the turn had ended; safe to repeat.

    The state is dropped, as after an append of unknown outcome. A request that the thread handled
    for somebody else is tried again if nothing of it was appended.

    Args:
        actor: the one whose turn was interrupted, owned or not.
        turn: the interrupted thread's.
    """
    owners = actor.services.owners
    try:
        if owners.get(actor) is turn and turn.running:
            actor.forget()
            _put_back(actor, turn)
    finally:
        turn.running = False
        turn.message = None
        if owners.get(actor) is turn:
            del owners[actor]
        if actor.waiting() or (actor.life.over and not actor.announced):
            actor.services.jobs.put(actor.run)
        actor.give_answers(turn)


def _put_back(actor: Owned, turn: Turn) -> None:
    request, mailbox = turn.message, actor.mailbox
    if request is None or request is turn.own:
        return  # whoever waited for it is gone
    if request in mailbox or turn.answers_already(request.reply):
        return  # a failed append before it has put it back, or it has its answer
    if actor.is_pending(request):
        return  # it will be answered when what it was decided upon is stored
    if actor.tried != turn.mark:
        unknown = StoreUnavailable(
            f"{actor.stream_id}: interrupted while appending; repeat with the same command_id",
            outcome_unknown=True,
        )
        actor.answer(turn, request, unknown)
        return
    request.interruptions += turn.ours
    if request.interruptions > MAX_INTERRUPTIONS:
        cause = "its thread was interrupted again and again"
        crashed = AggregateCrashed(f"{actor.stream_id}: {cause}; nothing stored", actor.stream_id)
        actor.answer(turn, request, crashed)
    else:
        mailbox.appendleft(request)
