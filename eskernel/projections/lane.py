"""Lane: one slot of a read model on its way along the log."""

from __future__ import annotations

import random
from collections.abc import Iterator
from operator import length_hint
from time import perf_counter
from typing import Any, Final

from eskernel.contracts import Clock, EventStore
from eskernel.errors import CorruptStore, EskernelError, StaleEpoch, StoreUnavailable
from eskernel.projections.definition import Definition
from eskernel.projections.failing import Failure, delay, in_words, told
from eskernel.projections.options import Projection
from eskernel.projections.progress import Parked, Progress
from eskernel.projections.read_model import ReadModel
from eskernel.values import Event, Range

_SMALLEST_PAGE: Final = 16
_LARGEST_PAGE: Final = 4000
_CHUNK: Final = 200
"""Events handled before it is asked whether somebody waits for the commit."""
_HANDLING: Final = 0.005
_HANDLING_EAGERLY: Final = 0.02
"""Seconds that handling a page should take, the latter with a commit after each: whoever reads the
state, or waits to write, waits no longer."""
_POSITION: Final = Event._fields.index("position")
_COMMIT_SHARE: Final = 10
"""Commits that are not urgent take at most one part in so many of the time."""

# Of these, no event is guilty. (A payload that cannot be decoded is its event's own fault.)
_NOT_THE_EVENTS = (StaleEpoch, StoreUnavailable)
_NOT_THE_STATES = (StaleEpoch, StoreUnavailable, CorruptStore)


class Lane:
    """Reads pages of events, hands them to the read model and commits; used by one thread.

    Invariants:

    - `progress` says what the model's uncommitted work contains, `committed` what its last commit
      does: each matching position up to theirs, once, in order, parked and discarded ones aside.
    - When an event fails, the model is brought to just before it, and that is committed, before it
      is tried again, alone.

    Args:
        definition: the module.
        options: how it is run.
        model: what it works on.
        slot: where.
        store: the log.
        clock: for delays.
        rng: scatters them.
    """

    def __init__(
        self,
        definition: Definition,
        options: Projection,
        model: ReadModel,
        slot: str,
        store: EventStore,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self.slot = slot
        self.progress = self.committed = Progress(0, definition.version)
        self.failure: Failure | None = None
        self.stopped: Exception | None = None
        self._definition = definition
        self._options = options
        self._model = model
        self._store = store
        self._clock = clock
        self._rng = rng
        self._page = _SMALLEST_PAGE
        self._uncommitted = 0
        # Whether an undo has failed: nothing may be handled before it is made good.
        self._is_lost = False
        self._last: Event | None = None
        self._commit_after = 0.0
        # After a commit that failed because of an event nobody knows: events in the next commits,
        # halved until it is known which, and the position up to which that goes on.
        self._few: tuple[int, int] | None = None

    @property
    def error(self) -> Exception | None:
        """What stopped it, or has failed and will be tried again."""
        return self.stopped or (None if self.failure is None else self.failure.error)

    def load(self) -> bool:
        """Make current what is stored; return whether there is anything."""
        found = self._model.load(self.slot)
        if found is None:
            return False
        self._restart_at(found)
        return True

    def begin(self, progress: Progress) -> None:
        """Begin with an empty state; raises what the user's `init` raises."""
        self._model.begin(self.slot, progress)
        self._restart_at(progress)

    def _restart_at(self, progress: Progress) -> None:
        self.progress = self.committed = progress
        self.failure = self.stopped = None
        self._uncommitted = 0
        self._is_lost = False
        self._few = None

    def advance(self, epoch: int | None) -> bool:
        """Handle the next page.

        Args:
            epoch: of the lease, if there is one.

        Returns:
            Whether there may be more to do at once.

        Raises:
            StaleEpoch, StoreUnavailable, CorruptStore: nothing is lost; load again, or call again.
        """
        if self.stopped is not None:
            return False
        if self._is_lost:
            self._undo()
        if self._uncommitted and not self._model.undoes:
            self.commit(epoch)  # or a crash would repeat more than a page
        stop = None if self.failure is None else self.failure.position
        limit = self._page if self._few is None else min(self._page, self._few[0])
        events, reached = self._read(Range(self.progress.position + 1, stop), limit)
        if reached <= self.progress.position:
            if self.failure is not None:
                return self._try_again(self.failure, epoch)
            self._commit_if_due(epoch)
            return self.progress.position < reached  # the commit has found an event at fault
        begun = perf_counter()
        if self._handle_in_chunks(events, reached):
            handling = perf_counter() - begun
            if self._model.eager or self._few is not None:
                self._commit_if_anything(epoch)
            self._commit_if_due(epoch)
            self._adapt(len(events), handling)
        return True

    def _read(self, range: Range, limit: int) -> tuple[list[Event], int]:
        definition = self._definition
        events: list[Event] = []
        try:
            _, reached = self._store.fold_all(
                _collect,
                events,
                range,
                limit=limit,
                types=definition.event_types,
                aggregate_types=definition.aggregate_types,
            )
        except EskernelError:
            raise
        except Exception as error:
            raise StoreUnavailable.because(error, outcome_unknown=False) from error
        return events, reached

    def _handle_in_chunks(self, events: list[Event], reached: int) -> bool:
        """Hand events to the model, as long as nobody waits; return whether none has failed."""
        rest = events
        while len(rest) > _CHUNK:
            some, rest = rest[:_CHUNK], rest[_CHUNK:]
            position = some[-1].position
            assert position is not None
            if not self._handle(some, position):
                return False
            if self._model.is_awaited():
                return True
        return self._handle(rest, reached)

    def _handle(self, events: list[Event], reached: int) -> bool:
        """Hand events to the model; return whether all were handled."""
        chosen = self._choose(events)
        if chosen is None:
            return False
        rest = iter(chosen)
        try:
            if chosen:
                self._model.handle(self.slot, rest)
        except _NOT_THE_EVENTS:
            self._after_failure(chosen, rest)
            raise
        except Exception as error:  # noqa: BLE001 - the user's, whatever it is
            self._note_failure(self._after_failure(chosen, rest), error)
            return False
        self._uncommitted += len(chosen)
        self._last = chosen[-1] if chosen else self._last
        self.progress = self.progress.moved(_positions(chosen), reached)
        return True

    def _choose(self, events: list[Event]) -> list[Event] | None:
        """Return the events that are to be handled; None if the module's filter has failed."""
        rest = iter(events)
        try:
            return self._definition.chosen(rest)
        except _NOT_THE_EVENTS:
            raise
        except Exception as error:  # noqa: BLE001 - the user's, whatever it is
            self._note_failure(events[_taken(events, rest) - 1], error)
            return None

    def _after_failure(self, chosen: list[Event], rest: Iterator[Event]) -> Event:
        """Make `progress` true again: undo, or if nothing can be undone, count what was done.

        Returns:
            The event that was being handled.
        """
        done = max(_taken(chosen, rest) - 1, 0)
        failing = chosen[done]
        if self._model.undoes:
            self._undo()
        elif done:
            assert failing.position is not None
            self._uncommitted += done
            self.progress = self.progress.moved(_positions(chosen[:done]), failing.position - 1)
        return failing

    def _undo(self) -> None:
        self.progress = self.committed  # or less would be there than is shown, if undoing fails
        self._uncommitted = 0
        self._is_lost = True
        self.progress = self.committed = self._model.undo(self.slot)
        self._is_lost = False
        if self.failure is not None and self.failure.position <= self.progress.position:
            self.failure = None  # it was handled: only the answer to its commit was lost

    def _note_failure(self, event: Event, error: Exception) -> None:
        """Note that an event failed: to be retried, or the end of it."""
        failure = self.failure
        now = self._clock.monotonic()
        if failure is None or failure.position != event.position:
            failure = self.failure = Failure(event, error, now)
        else:
            failure.error = told(event, error)
            failure.attempts += 1
        failure.retry_at = now + delay(self._options, failure.attempts, self._rng)

    def _try_again(self, failure: Failure, epoch: int | None) -> bool:
        """Everything before the failing event is handled: commit that, then see to the event."""
        before = self.progress.position
        self._commit_if_anything(epoch)
        if self.progress.position < before:
            return True  # what comes before it has failed, at the commit
        if failure.attempts > self._options.retries:
            self._give_up(failure, epoch)
            return self.stopped is None
        if self._clock.monotonic() < failure.retry_at:
            return False
        events, reached = self._read(Range(failure.position, failure.position + 1), 1)
        if not self._handle(events, reached):
            return True
        self._commit_if_anything(epoch)
        if self.failure is failure and self.progress.position >= failure.position:
            self.failure = None
        return True

    def _give_up(self, failure: Failure, epoch: int | None) -> None:
        parked = self.progress.parked
        if self._options.on_failure != "park" or len(parked) >= self._options.parked_limit:
            self.stopped = failure.error
            return
        position = failure.position
        aside = failure.parked(int(self._clock.time() * 1000))
        self.progress = self.progress.moved([position], position)._replace(parked=(*parked, aside))
        self._uncommitted += 1
        self._last = failure.event
        self.failure = None
        self.commit(epoch)

    def retry(self, aside: Parked, epoch: int | None) -> None:
        """Try a parked event once more; raises what its handler raises, which is noted."""
        self._commit_if_anything(epoch)
        others = self._others(aside)
        events, _ = self._read(Range(aside.position, aside.position + 1), 1)
        try:
            self._model.handle(self.slot, iter(self._definition.chosen(iter(events))))
            self._replace(epoch, parked=others)
        except _NOT_THE_EVENTS:
            self._undo()
            raise
        except Exception as error:
            self._undo()
            again = aside._replace(attempts=aside.attempts + 1, error=in_words(error))
            self._replace(epoch, parked=(*others, again))
            raise

    def discard(self, aside: Parked, epoch: int | None) -> None:
        """Give a parked event up."""
        self._commit_if_anything(epoch)
        discarded = (*self.progress.discarded, aside.position)
        self._replace(epoch, parked=self._others(aside), discarded=discarded)

    def _others(self, aside: Parked) -> tuple[Parked, ...]:
        return tuple(one for one in self.progress.parked if one.position != aside.position)

    def note_proved(self, stop: int, epoch: int | None) -> None:
        """Note that what was handled before a position was compared with the log."""
        self._commit_if_anything(epoch)
        ledger = self.progress.ledger.proved_before(stop)
        self._put(self.progress._replace(ledger=ledger), epoch)

    def _replace(self, epoch: int | None, **changes: Any) -> None:
        """Commit a change of the progress that no event makes."""
        generation = self.progress.generation + 1
        self._put(self.progress._replace(generation=generation, **changes), epoch)

    def _put(self, progress: Progress, epoch: int | None) -> None:
        try:
            self._model.commit(self.slot, progress, epoch)
        except Exception:
            self._undo()
            raise
        self.progress = self.committed = progress

    # Commits.

    def commit(self, epoch: int | None) -> None:
        """Commit what was handled; raises as `advance`."""
        begun = perf_counter()
        try:
            self._model.commit(self.slot, self.progress, epoch)
        except _NOT_THE_STATES:
            self._undo_commit()
            raise
        except Exception as error:  # noqa: BLE001 - of an event in it
            self._blame(error)
            return
        self.committed = self.progress
        self._uncommitted = 0
        if self._few is not None and self.progress.position >= self._few[1]:
            self._few = None
        pause = _COMMIT_SHARE * (perf_counter() - begun)
        pause = max(self._options.checkpoint_seconds, pause)
        self._commit_after = self._clock.monotonic() + pause

    def _undo_commit(self) -> None:
        """Undo after a commit that failed; what is not undone, as it is whole, is still due."""
        committed, count, upto = self.committed, self._uncommitted, self.progress.position
        self._undo()
        if self.progress.position >= upto:
            self.committed, self._uncommitted = committed, count

    def _blame(self, error: Exception) -> None:
        """Find the event because of which a commit failed: by commits of half as many."""
        count, last, upto = self._uncommitted, self._last, self.progress.position
        self._undo_commit()
        if self.progress.position >= upto:  # the state could be stored, so no event is guilty
            raise StoreUnavailable.because(error, outcome_unknown=True) from error
        if count > 1 or last is None:
            self._few = (max(1, count // 2), upto)
        else:
            self._note_failure(last, error)

    def _commit_if_anything(self, epoch: int | None) -> None:
        if self._is_lost:
            self._undo()
        if self._uncommitted or self.progress.parked is not self.committed.parked:
            self.commit(epoch)

    def _commit_if_due(self, epoch: int | None) -> None:
        moved = self.progress.position > self.committed.position
        many = self._uncommitted >= self._options.checkpoint_events
        if moved and (many or self._clock.monotonic() >= self._commit_after):
            self.commit(epoch)

    def _adapt(self, count: int, handling: float) -> None:
        """Choose the next page's size."""
        target = _HANDLING_EAGERLY if self._model.eager else _HANDLING
        fitting = int(count * target / handling) if count and handling > 0 else _LARGEST_PAGE
        self._page = max(1, min(fitting, self._page * 2, _LARGEST_PAGE))

    def waits_until(self) -> float:
        """Return when it has something to do even without new events, on the monotonic clock."""
        if self.failure is not None and self.stopped is None:
            return self.failure.retry_at
        if self.progress.position > self.committed.position and self.stopped is None:
            return self._commit_after
        return float("inf")


def _collect(events: list[Event], event: Event) -> list[Event]:
    events.append(event)
    return events


def _taken(events: list[Event], rest: Iterator[Event]) -> int:
    """Return how many events an iterator over a list has handed out."""
    return len(events) - length_hint(rest)


def _positions(events: list[Event]) -> list[int]:
    return [event[_POSITION] for event in events]  # type: ignore[misc]  # they are in the log
