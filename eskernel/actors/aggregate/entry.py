"""Entry: a request decided, on its way through the committer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eskernel.actors.aggregate.requests import CommandRequest, Request
from eskernel.values import Accepted

if TYPE_CHECKING:
    from eskernel.actors.committer import Chain, Wakeable
    from eskernel.actors.outcomes import Outcome
    from eskernel.contracts import Commit

NO_APPEND = 0
"""The result of an entry that appends nothing; no position is 0."""

_new = tuple.__new__


class Entry:
    """One request decided and not yet answered.

    Attributes:
        commit, chain, result: see `eskernel.actors.committer`; without an append, `result` is
            `NO_APPEND` from the start.
        state: the aggregate's state after its events.
        outcome: what to answer when everything before it has succeeded.
        original: the entry this one repeats, whose outcome it shares.
        ends_actor: whether the domain crashed here.
    """

    __slots__ = (
        "actor",
        "chain",
        "commit",
        "ends_actor",
        "original",
        "outcome",
        "request",
        "result",
        "state",
    )

    commit: Commit
    chain: Chain

    def __init__(self, actor: Wakeable, request: Request) -> None:
        self.actor = actor
        self.request = request
        self.result: Outcome | None = None
        self.state: Any = None
        self.outcome: Any = None
        self.original: Entry | None = None
        self.ends_actor = False

    def accepted(self) -> Accepted:
        """Return the outcome of an append that was stored."""
        stream_id, events, before, _ = self.commit
        return _new(Accepted, (stream_id, before + len(events), self.result, events))

    @property
    def command_id(self) -> str | None:
        """The id of the command that this is, if it is one and has one."""
        request = self.request
        return request.command.command_id if isinstance(request, CommandRequest) else None
