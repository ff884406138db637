"""AggregateActor: one live aggregate. Decides, appends, and only then replaces its state."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import structlog

from eskernel.actors.aggregate.caller_run import CallerRunActor
from eskernel.actors.aggregate.deciding import check_command, crashed, decide
from eskernel.actors.aggregate.hydration import Folded, Receipts, catch_up, hydrate, note_receipt
from eskernel.actors.aggregate.life import Life
from eskernel.actors.aggregate.pipeline import Pipeline
from eskernel.actors.aggregate.requests import (
    CommandRequest,
    MessageRequest,
    ReadRequest,
    Request,
    StopRequest,
)
from eskernel.actors.aggregate.snapshots import take_snapshot
from eskernel.actors.supervision.backoff import Backoff
from eskernel.errors import (
    AggregateCrashed,
    ConcurrencyConflict,
    EskernelError,
    StoreUnavailable,
)
from eskernel.values import Accepted, Command, Event, Range

if TYPE_CHECKING:
    from eskernel.actors.aggregate.bound_domain import BoundDomain
    from eskernel.actors.aggregate.services import Services
    from eskernel.actors.aggregate.turns import Turn
    from eskernel.values import StreamId

log = structlog.get_logger("eskernel")

MAX_CONFLICTS = 10
"""How often a command is decided again because somebody else had written first."""
MAX_INTERRUPTIONS = 1
REHYDRATION_BACKOFF = Backoff(first=0.05, longest=30.0)

_new = tuple.__new__
_rng = random.Random()  # noqa: S311 - jitter


class AggregateActor(CallerRunActor):
    """One live aggregate, run by its callers.

    Invariants (owner only, so no lock):

    - `state` and `receipts` are those after the stored event `sequence`; -1: not hydrated.
    - `stale`: the stream has moved on; later events must be folded in before deciding.
    - `tried` counts the appends handed to the store: when it has changed at an interruption, one
      may have been stored.
    """

    __slots__ = ("domain", "pipeline", "receipts", "retry", "sequence", "stale", "state")

    def __init__(
        self, stream_id: StreamId, domain: BoundDomain, services: Services, life: Life
    ) -> None:
        super().__init__(stream_id, services, life)
        self.domain = domain
        self.sequence = -1
        self.state: Any = None
        self.receipts: Receipts | None = None
        self.stale = False
        self.pipeline = None if services.commits is None else Pipeline(self, services.commits)
        # When a rehydration may be tried again, how many have failed, and the last error.
        self.retry: tuple[float, int, AggregateCrashed] | None = None

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
        if (
            command.command_id is not None
            or command.expected_sequence is not None
            or command.tags
            or command.metadata
            or command.type.__class__ is not str
        ):
            early = self.decided_before(command, self.sequence)
            if early is not None:
                return early
        append = services.append
        stream_id = self.stream_id
        conflicts = 0
        while True:
            sequence = self.sequence
            decision = decide(self.domain, command, stream_id, sequence, self.state, services.now)
            if decision.__class__ is not tuple:
                return self.conclude(decision)  # type: ignore[arg-type]
            events, state = decision
            last = sequence + len(events)
            self.tried += 1
            try:
                position = append(stream_id, events, expected_sequence=sequence)
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
            if command.command_id is not None or services.snapshot_interval:
                self.after_append(command, sequence)
            return _new(Accepted, (stream_id, last, position, events))

    def decided_before(self, command: Command, sequence: int) -> Accepted | EskernelError | None:
        """Return the outcome of a command that needs no decision at this sequence, or None."""
        problem = check_command(command, self.domain)
        if problem is not None:
            return problem
        if self.receipts is not None and command.command_id is not None:
            receipt = self.receipts.get(command.command_id)
            if receipt is not None:
                return self.recall(*receipt)
        expected = command.expected_sequence
        if expected is not None and expected != sequence:
            return ConcurrencyConflict(self.stream_id, expected, sequence)
        return None

    def recall(self, first: int, last: int) -> Accepted | EskernelError:
        """Return the outcome of the command that stored the events of these sequences."""
        events: list[Event] = []
        try:
            self.services.store.fold(self.stream_id, _collect, events, Range(first, last + 1))
        except EskernelError as error:
            return error
        except Exception as error:  # noqa: BLE001 - whatever a store raises
            return _unavailable(error, outcome_unknown=False)
        unpack = self.domain.unpack
        stored = tuple(event.read_with(unpack) for event in events)
        return _new(Accepted, (self.stream_id, last, stored[-1].position, stored))

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

    def after_failed_append(self, error: Exception) -> EskernelError:
        """Return what the caller gets; forget the state unless nothing can have been stored."""
        if isinstance(error, StoreUnavailable) and not error.outcome_unknown:
            return error
        self.drop_state()
        return error if isinstance(error, EskernelError) else _unavailable(error)

    def after_append(self, command: Command, before: int) -> None:
        """Note the receipt, and take a snapshot if the append crossed a multiple of the interval.

        Args:
            command: the one that stored the events.
            before: the sequence before it.
        """
        services = self.services
        if command.command_id is not None:
            if self.receipts is None:
                self.receipts = {}
            for sequence in (before + 1, self.sequence):
                note_receipt(self.receipts, command.command_id, sequence, services.receipts_kept)
        interval = services.snapshot_interval
        if interval and self.sequence // interval > before // interval:
            take_snapshot(self)

    # State.

    def refresh(self) -> EskernelError | None:
        """Bring the state up to the stream's end; return why not, or None."""
        services = self.services
        if self.retry is not None and services.monotonic() < self.retry[0]:
            return self._backing_off(*self.retry)
        try:
            if self.sequence < 0:
                folded = hydrate(services, self.domain, self.stream_id)
            else:
                start = Folded(self.state, self.sequence, self.receipts)
                folded = catch_up(services, self.domain, self.stream_id, start)
        except AggregateCrashed as error:
            return self._back_off(error)
        except EskernelError as error:
            return error
        # `sequence` last: until then the actor counts as not hydrated.
        self.retry = None
        self.state = folded.state
        self.receipts = folded.receipts
        self.sequence = folded.sequence
        self.stale = False
        return None

    def _back_off(self, error: AggregateCrashed) -> AggregateCrashed:
        log.error("rehydration_failed", stream_id=self.stream_id, exc_info=error)
        self.drop_state()
        attempt = self.retry[1] + 1 if self.retry else 1
        until = self.services.monotonic() + REHYDRATION_BACKOFF.delay(attempt, _rng)
        self.retry = (until, attempt, error)
        return self._backing_off(*self.retry)

    def _backing_off(self, until: float, attempt: int, error: AggregateCrashed) -> AggregateCrashed:
        wait = max(0.0, until - self.services.monotonic())
        again = AggregateCrashed(
            f"{error} (attempt {attempt}; tried again in {wait:.3f} s)", self.stream_id, wait
        )
        again.__cause__ = error.__cause__
        return again

    def forget(self) -> None:
        """Trust nothing of the present state, speculative or not."""
        self.drop_state()
        if self.pipeline is not None:
            self.pipeline.forget()

    def drop_state(self) -> None:
        """Rehydrate before the next command."""
        self.sequence = -1
        self.state = self.receipts = None

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
        if request.interruptions > MAX_INTERRUPTIONS:
            cause = RuntimeError("its thread was interrupted again and again")
            self.answer(turn, request, crashed(self.stream_id, request.command.type, cause))
        elif self.pipeline is not None:
            self.pipeline.decide(request, turn)
        else:
            self.answer(turn, request, self.execute(request.command))

    def _handle_read(self, request: ReadRequest, turn: Turn) -> None:
        self.last_used = self.services.monotonic()
        if self.pipeline is not None:
            self.pipeline.read(request, turn)
            return
        problem = self.refresh() if self.sequence < 0 or self.stale else None
        self.answer(turn, request, problem or request.read(self, self.state, self.sequence))

    def _handle_message(self, request: MessageRequest, turn: Turn) -> None:
        try:
            self.answer(turn, request, self._handle_receive(request.message))
        except Exception as error:
            self.answer(turn, request, error)
            if request.told:
                log.error("actor_failed", actor=str(self), exc_info=error)
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
        return (self.pipeline is not None and self.pipeline.held_up) or super().held_up()

    def has_work(self) -> bool:
        """Return whether somebody must run the actor."""
        return super().has_work() or (self.pipeline is not None and self.pipeline.ready())

    def wake(self) -> None:
        """Have appends that have landed taken in; called by the committer."""
        if self not in self.services.owners:
            self.services.jobs.put(self.run)


def _collect(events: list[Event], event: Event) -> list[Event]:
    events.append(event)
    return events


def _unavailable(error: Exception, *, outcome_unknown: bool = True) -> StoreUnavailable:
    unavailable = StoreUnavailable(
        f"the store failed: {type(error).__name__}: {error}", outcome_unknown=outcome_unknown
    )
    unavailable.__cause__ = error
    return unavailable
