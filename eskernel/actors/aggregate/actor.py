"""AggregateActor: one live aggregate. Decides, appends, and only then replaces its state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eskernel.actors.aggregate.life import Life
from eskernel.actors.aggregate.limits import MAX_CONFLICTS
from eskernel.actors.aggregate.pipeline import Pipeline
from eskernel.actors.aggregate.requests import (
    CommandRequest,
    MessageRequest,
    ReadRequest,
    Request,
    StopRequest,
)
from eskernel.actors.aggregate.stream_actor import StreamActor
from eskernel.actors.journal import log_safely
from eskernel.errors import (
    AggregateCrashed,
    ConcurrencyConflict,
    EskernelError,
)
from eskernel.values import NO_METADATA, Accepted, Command

if TYPE_CHECKING:
    from eskernel.actors.aggregate.bound_domain import BoundDomain
    from eskernel.actors.aggregate.services import Services
    from eskernel.actors.aggregate.turns import Turn
    from eskernel.values import StreamId


_NO_TAGS: tuple[str, ...] = ()
_new = tuple.__new__


class AggregateActor(StreamActor):
    """One live aggregate, run by its callers.

    Attributes:
        pipeline: takes the commands when appends end later; None for a store that appends at once.
    """

    __slots__ = ("pipeline",)

    def __init__(
        self, stream_id: StreamId, domain: BoundDomain, services: Services, life: Life
    ) -> None:
        super().__init__(stream_id, domain, services, life)
        self.pipeline = None if services.commits is None else Pipeline(self, services.commits)

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

    def forget(self) -> None:
        """Trust nothing of the present state, speculative or not."""
        self.drop_state()
        if self.pipeline is not None:
            self.pipeline.forget()

    # Queued requests.

    def handle(self, request: Request, turn: Turn) -> None:
        """Handle one queued request; owner only."""
        if isinstance(request, CommandRequest):
            self._handle_command(request, turn)
        elif isinstance(request, ReadRequest):
            self._handle_read(request, turn)
        elif isinstance(request, StopRequest):
            self.mailbox.appendleft(request)  # for _retire to answer
            self.end(None)
        elif isinstance(request, MessageRequest):
            self._handle_message(request, turn)

    def _handle_command(self, request: CommandRequest, turn: Turn) -> None:
        if self.pipeline is not None:
            self.pipeline.decide(request, turn)
        else:
            self.answer(turn, request, self.execute(request.command))

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

    # Pipelining, when appends end later.

    def settle(self, turn: Turn) -> None:
        """Take in the results of appends that have ended."""
        if self.pipeline is not None:
            self.pipeline.settle(turn)

    def in_flight(self) -> int:
        """Return how many requests wait for appends to end."""
        return 0 if self.pipeline is None else len(self.pipeline.pending)

    def held_up(self) -> bool:
        """Return whether the mailbox must wait."""
        pipeline = self.pipeline
        if pipeline is not None and (pipeline.held_up or (pipeline.pending and self.life.over)):
            return True
        return super().held_up()

    def has_work(self) -> bool:
        """Return whether somebody must run the actor."""
        return super().has_work() or (self.pipeline is not None and self.pipeline.ready())
