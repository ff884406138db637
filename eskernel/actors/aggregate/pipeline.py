"""Pipeline: an aggregate's commands decided in a row while their appends are under way.

A durable write takes milliseconds. Meanwhile the next commands are decided on the speculative
state and appended each on its own, chained by expected_sequence. Every reply, a rejection's
included, waits for the appends it was decided on; if one fails, the later ones are decided again.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from eskernel.actors.aggregate.entry import NO_APPEND, Entry
from eskernel.actors.aggregate.limits import MAX_CONFLICTS
from eskernel.actors.aggregate.requests import CommandRequest, ReadRequest, Request
from eskernel.actors.committer import Chain, ChainBroken, CommitQueue
from eskernel.contracts import Commit
from eskernel.errors import (
    AggregateCrashed,
    ConcurrencyConflict,
    EskernelError,
    StoreUnavailable,
)
from eskernel.values import Accepted, Command, Event, Row

if TYPE_CHECKING:
    from eskernel.actors.aggregate.stream_actor import StreamActor
    from eskernel.actors.aggregate.turns import Turn

_new = tuple.__new__


class Pipeline:
    """The speculative end of an aggregate's stream; owner only.

    Attributes:
        pending: decided requests in order; those with events are with the committer.
        held_up: nothing more is decided until `pending` is empty.
        chain: the appends since the last failure.
        state, sequence: the aggregate after all of `pending`; meaningless when that is empty.
    """

    __slots__ = ("actor", "chain", "commits", "held_up", "pending", "sequence", "state")

    def __init__(self, actor: StreamActor, commits: CommitQueue) -> None:
        self.actor = actor
        self.commits = commits
        self.pending: deque[Entry] = deque()
        self.held_up = False
        self.chain = Chain()
        self.sequence = -1
        self.state: Any = None

    # Deciding.

    def decide(self, request: CommandRequest, turn: Turn) -> None:
        """Decide a command on the speculative state and hand its events to the committer."""
        actor, command = self.actor, request.command
        actor.last_used = actor.services.monotonic()
        early = self._refresh() or self._decided_before(command)
        if not self.pending and actor.behind(early):
            actor.stale = True
            early = self._refresh() or self._decided_before(command)
        if isinstance(early, Entry):
            self._reply(request, None, turn, original=early)
        elif early is not None:
            self._reply(request, early, turn)
        else:
            decision = actor.decide(command, actor.stream_id, self.sequence, self.state)
            if isinstance(decision, tuple):
                self._append(request, *decision)
            else:
                self._conclude(request, decision, turn)

    def read(self, request: ReadRequest, turn: Turn) -> None:
        """Answer a question about the speculative state once that is stored."""
        self.actor.stale |= not self.pending  # somebody else may have written
        problem = self._refresh()
        repeated = self._pending_command(request.command_id)
        answer = problem or request.read(self.actor, self.state, self.sequence)
        self._reply(request, answer, turn, original=repeated)

    def _refresh(self) -> EskernelError | None:
        """Make `state` and `sequence` what the next command is decided on."""
        actor = self.actor
        if self.pending:
            return None
        problem = actor.refresh() if actor.sequence < 0 or actor.stale else None
        self.state, self.sequence = actor.state, actor.sequence
        return problem

    def _decided_before(self, command: Command) -> Any:
        """Return an outcome, or the pending entry the command repeats, or None."""
        repeated = self._pending_command(command.command_id)
        return repeated or self.actor.decided_before(command, self.sequence)

    def _pending_command(self, command_id: str | None) -> Entry | None:
        if command_id is None:
            return None
        for entry in self.pending:
            if entry.result != NO_APPEND and entry.command_id == command_id:
                return entry
        return None

    def _append(self, request: CommandRequest, rows: tuple[Row, ...], state: Any) -> None:
        actor = self.actor
        events = tuple(Event.of_row(row) for row in rows)
        entry = Entry(actor, request)
        append_id = actor.services.next_append_id()
        entry.commit = Commit(actor.stream_id, events, self.sequence, append_id)
        entry.chain = self.chain
        entry.state = state
        actor.tried += 1
        # To the committer first: an entry is never pending without being on its way.
        self.commits.put(entry)
        self.pending.append(entry)
        self.state = state
        self.sequence += len(events)

    def _conclude(
        self, request: CommandRequest, decision: EskernelError | None, turn: Turn
    ) -> None:
        if isinstance(decision, AggregateCrashed):
            self.held_up = True  # until it is known whether the state it crashed on was real
        outcome = decision or _new(Accepted, (self.actor.stream_id, self.sequence, None, ()))
        self._reply(request, outcome, turn, decided=True)

    def _reply(
        self,
        request: Request,
        outcome: Any,
        turn: Turn,
        *,
        original: Entry | None = None,
        decided: bool = False,
    ) -> None:
        """Answer without an append, after all pending appends."""
        entry = Entry(self.actor, request)
        entry.result = NO_APPEND
        entry.outcome = outcome
        entry.original = original
        entry.ends_actor = decided and isinstance(outcome, AggregateCrashed)
        self.pending.append(entry)
        self.settle(turn)

    # Completing.

    def ready(self) -> bool:
        """Return whether `settle` has something to do; who does not own the actor may ask too."""
        try:
            first = self.pending[0].result
        except IndexError:
            return False
        if isinstance(first, Exception):
            return all(entry.result is not None for entry in list(self.pending))
        return first is not None

    def settle(self, turn: Turn) -> None:
        """Answer, in order, whatever waits for no append any more; safe to repeat."""
        pending = self.pending
        while self.ready():
            entry = pending[0]
            if isinstance(entry.result, Exception):
                self._recover(turn)
                continue
            self._complete(entry, turn)
            pending.popleft()
        if pending and isinstance(pending[0].result, Exception):
            self.held_up = True
        elif not pending:
            self.held_up = False

    def _complete(self, entry: Entry, turn: Turn) -> None:
        actor, request = self.actor, entry.request
        if entry.result != NO_APPEND:
            assert isinstance(request, CommandRequest)
            entry.outcome = entry.accepted()
            if actor.sequence >= 0:  # else it was forgotten, and will be rehydrated
                before = actor.sequence
                actor.state = entry.state
                actor.sequence = entry.outcome.sequence
                actor.after_append(request.command, before)
        elif entry.original is not None:
            entry.outcome = entry.original.outcome
        elif entry.ends_actor:
            actor.end(entry.outcome)
        actor.answer(turn, request, entry.outcome)

    def _recover(self, turn: Turn) -> None:
        """Answer those whose own append failed; put the others back to be decided again.

        All results are in. Until `pending` is cleared at the end this may be repeated.
        """
        actor, again = self.actor, []
        self.held_up = True
        for entry in self.pending:
            outcome = self._verdict(entry, first=entry is self.pending[0])
            if outcome is None:
                again.append(entry.request)
            else:
                actor.answer(turn, entry.request, outcome)
        back = [request for request in again if request not in actor.mailbox]
        actor.mailbox.extendleft(reversed(back))
        self.chain = Chain()
        self.pending.clear()

    def _verdict(self, entry: Entry, *, first: bool) -> Accepted | Exception | None:
        """Return what to answer, or None to decide again."""
        result, actor = entry.result, self.actor
        if not isinstance(result, Exception):
            # Stored although an earlier one failed: then that one's outcome was unknown.
            return None if result == NO_APPEND else entry.accepted()
        if isinstance(result, ChainBroken) or (
            isinstance(result, ConcurrencyConflict) and not first
        ):
            return None
        if isinstance(result, ConcurrencyConflict):
            actor.stale = True
            entry.request.conflicts += 1
            return result if entry.request.conflicts > MAX_CONFLICTS else None
        if not isinstance(result, StoreUnavailable) or result.outcome_unknown:
            actor.drop_state()
        return result

    def forget(self) -> None:
        """Decide nothing on a state that cannot be trusted; see that the committer is awake."""
        self.held_up = bool(self.pending)
        self.chain = Chain()
        self.commits.nudge()
