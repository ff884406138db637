"""Pipeline: an aggregate's commands decided in a row while their appends are under way.

A durable write takes milliseconds. Meanwhile the next commands are decided on the speculative
state and appended each on its own, chained by expected_sequence. Every reply, a rejection's
included, waits for the appends it was decided on; if one fails, the later ones are decided again.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from eskernel.actors.aggregate.deciding import is_plain
from eskernel.actors.aggregate.entry import NO_APPEND, Entry
from eskernel.actors.aggregate.recovering import recover
from eskernel.actors.aggregate.requests import CommandRequest, ReadRequest, Request
from eskernel.actors.committer import Chain, CommitQueue
from eskernel.contracts import Commit
from eskernel.errors import AggregateCrashed, EskernelError
from eskernel.values import Accepted, Command, Event

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
        services = actor.services
        actor.last_used = services.monotonic()
        if not self.pending:
            problem = actor.refresh() if actor.sequence < 0 or actor.stale else None
            self.state, self.sequence = actor.state, actor.sequence
            if problem is not None:
                self._reply(request, problem, turn)
                return
        if not is_plain(command):
            early = self._decided_before(command)
            if not self.pending and actor.behind(early):
                actor.stale = True
                early = self._refresh() or self._decided_before(command)
            if early is not None:
                self._reply_early(request, early, turn)
                return
        sequence = self.sequence
        decision = actor.decide(command, actor.stream_id, sequence, self.state)
        if decision.__class__ is not tuple:
            self._conclude(request, decision, turn)  # type: ignore[arg-type]
            return
        rows, state = decision
        events = tuple([_new(Event, row) for row in rows])
        entry = Entry(actor, request)
        entry.commit = _new(Commit, (actor.stream_id, events, sequence, services.next_append_id()))
        entry.chain = self.chain
        entry.state = state
        actor.tried += 1
        # To the committer first: an entry is never pending without being on its way.
        self.commits.put(entry)
        self.pending.append(entry)
        self.state = state
        self.sequence = sequence + len(rows)

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

    def _reply_early(self, request: Request, early: Any, turn: Turn) -> None:
        """Answer with an outcome, or with that of a pending entry."""
        if isinstance(early, Entry):
            self._reply(request, None, turn, original=early)
        else:
            self._reply(request, early, turn)

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
        if not self.pending:
            return False
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
                recover(self, turn)
                continue
            self._complete(entry, turn)
            pending.popleft()
        if pending and isinstance(pending[0].result, Exception):
            self.held_up = True
        elif not pending:
            self.held_up = False

    def settle_stored(self, turn: Turn) -> None:
        """Answer, in order, whatever was stored; stop where more is to be done than that."""
        pending, actor = self.pending, self.actor
        interval = actor.services.snapshot_interval
        while pending:
            entry = pending[0]
            if entry.result.__class__ is not int:
                return
            if interval and entry.result != NO_APPEND and self._crosses(entry, interval):
                return
            self._complete(entry, turn)
            pending.popleft()
        self.held_up = False

    def _crosses(self, entry: Entry, interval: int) -> bool:
        """Return whether a snapshot is due once this entry is stored."""
        before = self.actor.sequence
        last = entry.commit.expected_sequence + len(entry.commit.events)
        return last // interval > before // interval

    def _complete(self, entry: Entry, turn: Turn) -> None:
        actor, request = self.actor, entry.request
        if entry.result != NO_APPEND:
            assert isinstance(request, CommandRequest)
            entry.outcome = entry.accepted()
            before = actor.sequence
            if before >= 0:  # else it was forgotten, and will be rehydrated
                actor.state = entry.state
                actor.sequence = entry.outcome.sequence
                if request.command.command_id is not None or actor.services.snapshot_interval:
                    actor.after_append(request.command, before)
        elif entry.original is not None:
            entry.outcome = entry.original.outcome
        elif entry.ends_actor:
            actor.end(entry.outcome)
        turn.answers.append((request.reply, entry.outcome))

    def forget(self) -> None:
        """Decide nothing on a state that cannot be trusted; see that the committer is awake."""
        self.held_up = bool(self.pending)
        self.chain = Chain()
        self.commits.nudge()
