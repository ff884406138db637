"""AggregateActor: one live aggregate. Decides, appends, and only then replaces its state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eskernel.actors.aggregate.limits import MAX_CONFLICTS
from eskernel.actors.aggregate.pipelined import PipelinedActor
from eskernel.actors.aggregate.requests import (
    CommandRequest,
    MessageRequest,
    ReadRequest,
    Request,
    StopRequest,
)
from eskernel.actors.journal import log_safely
from eskernel.errors import (
    AggregateCrashed,
    ConcurrencyConflict,
    EskernelError,
)
from eskernel.values import NO_METADATA, Accepted, Command

if TYPE_CHECKING:
    from eskernel.actors.aggregate.turns import Turn


_NO_TAGS: tuple[str, ...] = ()
_new = tuple.__new__


class AggregateActor(PipelinedActor):
    """One live aggregate, run by its callers."""

    __slots__ = ()

    # Commands, when the store appends at once.

    def execute(self, command: Command) -> Accepted | EskernelError:  # noqa: C901 - the hot path
        """Decide, evolve, append, swap; owner only. Return the outcome, never raise it."""
        services = self.services
        monotonic = services.monotonic
        self.last_used = monotonic()
        if self.sequence < 0 or self.stale:
            problem = self.refresh()
            if problem is not None:
                return problem
        _, _, kind, _, command_id, expected, metadata, tags = command
        if (
            command_id is not None
            or expected is not None
            or tags is not _NO_TAGS
            or metadata is not NO_METADATA
            or kind.__class__ is not str
        ):
            early = self.decided_before(command, self.sequence)
            if self.behind(early):
                self.stale = True
                early = self.refresh() or self.decided_before(command, self.sequence)
            if early is not None:
                return early
        append = services.append
        decide = self.decide
        stream_id = self.stream_id
        conflicts = 0
        while True:
            sequence = self.sequence
            decision = decide(command, stream_id, sequence, self.state)
            if decision.__class__ is not tuple:
                return self.conclude(decision)  # type: ignore[arg-type]
            rows, state = decision
            last = sequence + len(rows)
            self.tried += 1
            try:
                position = append(stream_id, rows, expected_sequence=sequence)
            except ConcurrencyConflict as conflict:
                conflicts += 1
                outcome = self._after_conflict(command, conflict, conflicts)
                if outcome is not None:
                    return outcome
                continue
            except Exception as error:  # noqa: BLE001 - a store's surprise is an unknown outcome
                return self.after_failed_append(error)
            self.state = state
            self.sequence = last
            if command_id is not None or services.snapshot_interval:
                self.after_append(command, sequence)
            return _new(Accepted, (stream_id, last, position, rows))

    def conclude(self, decision: EskernelError | None) -> Accepted | EskernelError:
        """Return the outcome of a decision without events; a crash ends the actor."""
        if decision is None:
            return _new(Accepted, (self.stream_id, self.sequence, None, ()))
        if isinstance(decision, AggregateCrashed):
            self.end(decision)
        return decision

    def _after_conflict(
        self, command: Command, conflict: ConcurrencyConflict, conflicts: int
    ) -> Accepted | EskernelError | None:
        """Catch up; return the outcome, or None to decide again."""
        self.stale = True
        problem = self.refresh()
        if problem is not None:
            return problem
        if conflicts > MAX_CONFLICTS:
            return conflict
        return self.decided_before(command, self.sequence)

    # Queued requests.

    def handle(self, request: Request, turn: Turn) -> None:
        """Handle one queued request; owner only."""
        if isinstance(request, CommandRequest):
            if self.pipeline is not None:
                self.pipeline.decide(request, turn)
            else:
                self.answer(turn, request, self.execute(request.command))
        elif isinstance(request, ReadRequest):
            self._handle_read(request, turn)
        elif isinstance(request, StopRequest):
            self.mailbox.appendleft(request)  # for _retire to answer
            self.end(None)
        elif isinstance(request, MessageRequest):
            self._handle_message(request, turn)

    def _handle_read(self, request: ReadRequest, turn: Turn) -> None:
        self.last_used = self.services.monotonic()
        if self.pipeline is not None:
            self.pipeline.read(request, turn)
            return
        self.stale = True  # somebody else may have written
        self.answer(turn, request, self.refresh() or request.read(self, self.state, self.sequence))

    def _handle_message(self, request: MessageRequest, turn: Turn) -> None:
        try:
            self.answer(turn, request, self._handle_receive(request.message))
        except Exception as error:  # noqa: BLE001 - the asker's
            self.answer(turn, request, error)
            if request.told:
                log_safely("error", "actor_failed", actor=str(self), exc_info=error)
                self.end(error)

    def on_receive(self, message: Any) -> Any:
        """Refuse what is neither a command nor one of Pykka's own messages."""
        raise TypeError(f"{self} takes Commands and Pykka's own messages, not {message!r}")
