"""Lane: one slot of a read model on its way along the log.

Longer than most modules: what becomes of an event that fails is one argument with how pages are
handled and committed. Reading them, and the bookkeeping of commits, are elsewhere.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from time import perf_counter
from typing import Any, Final

from eskernel.contracts import Clock, EventStore
from eskernel.errors import StaleEpoch, StoreUnavailable
from eskernel.projections.commits import Commits
from eskernel.projections.definition import Definition
from eskernel.projections.failing import Failure, delay, in_words, told
from eskernel.projections.options import Projection
from eskernel.projections.pages import Pages, taken
from eskernel.projections.progress import Parked, Progress
from eskernel.projections.read_model import ReadModel
from eskernel.values import Event, Range

_CHUNK: Final = 200
"""Events handled before it is asked whether somebody waits for the commit."""
_HANDLING: Final = 0.005
_HANDLING_EAGERLY: Final = 0.02
"""Seconds that handling a page should take, the latter with a commit after each: whoever reads the
state, or waits to write, waits no longer."""

# Of these, no event is guilty. (A payload that cannot be decoded is its event's own fault.)
_NOT_THE_EVENTS: Final = (StaleEpoch, StoreUnavailable)


class Lane:
    """Reads pages of events, hands them to the read model and commits; used by one thread.

    Invariant: of its positions, `progress` and `committed`, everything before is handled: each
    matching event once, in order, parked and discarded ones aside. When an event fails, the model
    is brought to just before it, and that is committed, before it is tried again, alone.

    Attributes:
        failure: the event that has failed and will be tried again; None if there is none.
        stopped: why nothing more is done; None as long as it goes on.

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
        self.failure: Failure | None = None
        self.stopped: Exception | None = None
        self._definition = definition
        self._options = options
        self._model = model
        self._clock = clock
        self._rng = rng
        seconds = _HANDLING_EAGERLY if model.eager else _HANDLING
        self._pages = Pages(definition, store, seconds)
        beginning = Progress(0, definition.version)
        self._commits = Commits(model, slot, options, clock, beginning)

    @property
    def progress(self) -> Progress:
        """How far it has come."""
        return self._commits.progress

    @property
    def committed(self) -> Progress:
        """How far what it has done is committed."""
        return self._commits.committed

    @property
    def error(self) -> Exception | None:
        """What stopped it, or has failed and will be tried again."""
        return self.stopped or (None if self.failure is None else self.failure.error)

    def load(self) -> bool:
        """Make current what is stored; return whether there is anything."""
        found = self._model.load(self._commits.slot)
        if found is None:
            return False
        self.restart_at(found)
        return True

    def begin(self, progress: Progress) -> None:
        """Begin with an empty state; raises what the user's `init` raises."""
        self._model.begin(self._commits.slot, progress)
        self.restart_at(progress)

    def restart_at(self, progress: Progress, slot: str | None = None) -> None:
        """Go on from what is stored.

        Args:
            progress: what it has come to.
            slot: where it is, if that has changed.
        """
        self._commits.slot = slot or self._commits.slot
        self._commits.restart_at(progress)
        self.failure = self.stopped = None

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
        commits, pages = self._commits, self._pages
        if commits.is_lost:
            self._undo()
        if commits.uncommitted and not self._model.undoes:
            self.commit(epoch)  # or a crash would repeat more than a page
        stop = None if self.failure is None else self.failure.position
        limit = pages.size if commits.few is None else min(pages.size, commits.few.events)
        events, reached = pages.read(Range(self.progress.position + 1, stop), limit)
        if reached <= self.progress.position:
            if self.failure is not None:
                return self._try_again(self.failure, epoch)
            self._commit_if_due(epoch)
            return self.progress.position < reached  # the commit has found an event at fault
        begun = perf_counter()
        handled = self._handle_in_chunks(events, reached)
        if handled is not None:
            pages.adapt(handled, perf_counter() - begun - self._model.opening)
            if self._model.eager or commits.few is not None:
                self._commit_if_anything(epoch)
            self._commit_if_due(epoch)
        return True

    # Handling.

    def _handle_in_chunks(self, events: list[Event], reached: int) -> int | None:
        """Hand events to the model, as long as nobody waits.

        Returns:
            How many there were time for; None if one has failed.
        """
        rest = events
        while len(rest) > _CHUNK:
            some, rest = rest[:_CHUNK], rest[_CHUNK:]
            position = some[-1].position
            assert position is not None
            if not self._handle(some, position):
                return None
            if self._model.is_awaited():
                return len(events) - len(rest)
        return len(events) if self._handle(rest, reached) else None

    def _handle(self, events: list[Event], reached: int) -> bool:
        """Hand events to the model; return whether all were handled."""
        chosen = self._choose(events)
        if chosen is None:
            return False
        rest = iter(chosen)
        try:
            if chosen:
                self._model.handle(self._commits.slot, rest)
        except _NOT_THE_EVENTS:
            self._after_failure(chosen, rest)
            raise
        except Exception as error:  # noqa: BLE001 - the user's, whatever it is
            self._note_failure(self._after_failure(chosen, rest), error)
            return False
        self._commits.note(chosen, reached)
        return True

    def _choose(self, events: list[Event]) -> list[Event] | None:
        """Return the events that are to be handled; None if the module's filter has failed."""
        rest = iter(events)
        try:
            return self._definition.chosen(rest)
        except _NOT_THE_EVENTS:
            raise
        except Exception as error:  # noqa: BLE001 - the user's, whatever it is
            self._note_failure(events[taken(events, rest) - 1], error)
            return None

    # Failing.

    def _after_failure(self, chosen: list[Event], rest: Iterator[Event]) -> Event:
        """Make `progress` true again: undo, or if nothing can be undone, count what was done.

        Returns:
            The event that was being handled.
        """
        done = max(taken(chosen, rest) - 1, 0)
        failing = chosen[done]
        if self._model.undoes:
            self._undo()
        elif done:
            assert failing.position is not None
            self._commits.note(chosen[:done], failing.position - 1)
        return failing

    def _undo(self) -> None:
        self._commits.undo()
        self._forget_handled()

    def _forget_handled(self) -> None:
        """Forget a failure that is past: only the answer to its commit was lost."""
        if self.failure is not None and self.failure.position <= self.progress.position:
            self.failure = None

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
        events, reached = self._pages.read(Range(failure.position, failure.position + 1), 1)
        if not self._handle(events, reached):
            return True
        self._commit_if_anything(epoch)
        if self.failure is failure:
            self._forget_handled()
        return True

    def _give_up(self, failure: Failure, epoch: int | None) -> None:
        parked = self.progress.parked
        if self._options.on_failure != "park" or len(parked) >= self._options.parked_limit:
            self.stopped = failure.error
            return
        aside = failure.parked(int(self._clock.time() * 1000))
        self._commits.note([failure.event], failure.position)
        self._commits.progress = self.progress._replace(parked=(*parked, aside))
        self.failure = None
        self.commit(epoch)

    # Commits.

    def commit(self, epoch: int | None) -> None:
        """Commit what was handled; raises as `advance`."""
        try:
            blamed = self._commits.commit(epoch)
        finally:
            self._forget_handled()
        if blamed is not None:
            self._note_failure(*blamed)

    def _commit_if_anything(self, epoch: int | None) -> None:
        if self._commits.is_lost:
            self._undo()
        if self._commits.is_anything():
            self.commit(epoch)

    def _commit_if_due(self, epoch: int | None) -> None:
        if self._commits.is_due():
            self.commit(epoch)

    def waits_until(self) -> float:
        """Return when it has something to do even without new events, on the monotonic clock."""
        if self.stopped is not None:
            return float("inf")
        return self._commits.due_at() if self.failure is None else self.failure.retry_at

    # What no event does.

    def retry(self, aside: Parked, epoch: int | None) -> None:
        """Try a parked event once more; raises what its handler raises, which is noted."""
        self._commit_if_anything(epoch)
        others = self._others(aside)
        events, _ = self._pages.read(Range(aside.position, aside.position + 1), 1)
        try:
            chosen = self._definition.chosen(iter(events))
            self._model.handle(self._commits.slot, iter(chosen))
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
        self._commits.put(self.progress._replace(ledger=ledger), epoch)

    def _replace(self, epoch: int | None, **changes: Any) -> None:
        """Commit a change of the state that no next event makes."""
        generation = self.progress.generation + 1
        self._commits.put(self.progress._replace(generation=generation, **changes), epoch)
