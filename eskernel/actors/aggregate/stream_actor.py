"""StreamActor: an actor whose state is what its stream's events make of it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from eskernel.actors.aggregate.caller_run import CallerRunActor
from eskernel.actors.aggregate.deciding import check_command
from eskernel.actors.aggregate.hydration import (
    Folded,
    Receipts,
    catch_up,
    fold,
    hydrate,
    trim_receipts,
)
from eskernel.actors.aggregate.snapshots import take_snapshot
from eskernel.actors.journal import log_safely
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
    from eskernel.actors.aggregate.life import Life
    from eskernel.actors.aggregate.services import Services
    from eskernel.values import StreamId


REHYDRATION_BACKOFF = Backoff(first=0.05, longest=30.0)

_new = tuple.__new__
_rng = random.Random()  # noqa: S311 - jitter


class StreamActor(CallerRunActor):
    """Keeps state, sequence and receipts in step with a stream; owner only, so no lock.

    Invariants:

    - `state` and `receipts` are those after the stored event `sequence`; -1: not hydrated.
    - `stale`: the stream may have moved on; later events must be folded in before deciding.

    Attributes:
        decide: see `eskernel.actors.aggregate.deciding`.
        retry: when a failed rehydration may be tried again, how many have failed, the last error;
            None when the last one succeeded.
    """

    __slots__ = ("decide", "domain", "receipts", "retry", "sequence", "stale", "state")

    def __init__(
        self, stream_id: StreamId, domain: BoundDomain, services: Services, life: Life
    ) -> None:
        super().__init__(stream_id, services, life)
        self.domain = domain
        self.decide = services.deciders[domain.name]
        self.sequence = -1
        self.state: Any = None
        self.receipts: Receipts | None = None
        self.stale = False
        self.retry: tuple[float, int, AggregateCrashed] | None = None

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
        log_safely("error", "rehydration_failed", stream_id=self.stream_id, exc_info=error)
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

    def drop_state(self) -> None:
        """Rehydrate before the next command."""
        self.sequence = -1
        self.state = self.receipts = None

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

    def behind(self, outcome: object) -> bool:
        """Return whether a conflict tells of events that this actor has not seen.

        Its caller has read the stream elsewhere, further than this actor's state.
        """
        return isinstance(outcome, ConcurrencyConflict) and outcome.expected > outcome.actual

    def recall(self, first: int, last: int) -> Accepted | EskernelError:
        """Return the outcome of the command that stored the events of these sequences."""
        events: list[Event] = []
        try:
            fold(self.services, self.stream_id, _collect, events, Range(first, last + 1))
        except EskernelError as error:
            return error
        unpack = self.domain.unpack
        stored = tuple(event.read_with(unpack) for event in events)
        return _new(Accepted, (self.stream_id, last, stored[-1].position, stored))

    def after_failed_append(self, error: Exception) -> EskernelError:
        """Return what the caller gets; forget the state unless nothing can have been stored."""
        if isinstance(error, StoreUnavailable) and not error.outcome_unknown:
            return error
        self.drop_state()
        return (
            error
            if isinstance(error, EskernelError)
            else StoreUnavailable.because(error, outcome_unknown=True)
        )

    def wake(self) -> None:
        """Take in what the committer has stored: nothing, where appends end at once."""

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
            self.receipts[command.command_id] = (before + 1, self.sequence)
            trim_receipts(self.receipts, services.receipts_kept)
        interval = services.snapshot_interval
        if interval and self.sequence // interval > before // interval:
            folded = Folded(self.state, self.sequence, self.receipts)
            take_snapshot(services, self.domain, self.stream_id, folded)


def _collect(events: list[Event], event: Event) -> list[Event]:
    events.append(event)
    return events
