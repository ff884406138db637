"""Recovering: what becomes of the requests in a pipeline when an append of theirs has failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from eskernel.actors.aggregate.entry import NO_APPEND, Entry
from eskernel.actors.aggregate.limits import MAX_CONFLICTS
from eskernel.actors.committer import Chain
from eskernel.actors.outcomes import ChainBroken
from eskernel.errors import ConcurrencyConflict, StaleEpoch, StoreUnavailable

if TYPE_CHECKING:
    from collections import deque

    from eskernel.actors.aggregate.requests import Request
    from eskernel.actors.aggregate.stream_actor import StreamActor
    from eskernel.actors.aggregate.turns import Turn
    from eskernel.values import Accepted

_OTHERS = (ConcurrencyConflict, StaleEpoch)
"""What an append gets that somebody else has forestalled: nothing of it is stored."""


class Failed(Protocol):
    """What recovering needs of a `Pipeline`, which says what these are."""

    actor: StreamActor
    pending: deque[Entry]
    chain: Chain
    held_up: bool


def recover(pipeline: Failed, turn: Turn) -> None:
    """Answer those whose own append failed; put the others back to be decided again.

    All results are in. Until `pending` is cleared at the end this may be repeated.

    Args:
        pipeline: its first pending append has failed; the calling thread owns its actor.
        turn: the calling thread's.
    """
    actor, pending = pipeline.actor, pipeline.pending
    again: list[Request] = []
    pipeline.held_up = True
    for entry in pending:
        outcome = _verdict(actor, entry, first=entry is pending[0])
        if outcome is None:
            again.append(entry.request)
        else:
            actor.answer(turn, entry.request, outcome)
    back = [request for request in again if request not in actor.mailbox]
    actor.open_mailbox().extendleft(reversed(back))
    pipeline.chain = Chain()
    pending.clear()


def _verdict(actor: StreamActor, entry: Entry, *, first: bool) -> Accepted | Exception | None:
    """Return what to answer, or None to decide again."""
    result = entry.result
    if not isinstance(result, Exception):
        # Stored although an earlier one failed: then that one's outcome was unknown.
        return None if result == NO_APPEND else entry.accepted()
    if isinstance(result, ChainBroken) or (isinstance(result, _OTHERS) and not first):
        return None
    if isinstance(result, _OTHERS):
        actor.stale = True
        entry.request.conflicts += 1
        return result if entry.request.conflicts > MAX_CONFLICTS else None
    if not isinstance(result, StoreUnavailable) or result.outcome_unknown:
        actor.drop_state()
    return result
