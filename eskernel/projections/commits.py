"""Commits: what a slot of a read model has handled, and what of it is committed."""

from __future__ import annotations

from time import perf_counter
from typing import Final, NamedTuple

from eskernel.contracts import Clock
from eskernel.errors import CorruptStore, StaleEpoch, StoreUnavailable
from eskernel.projections.options import Projection
from eskernel.projections.pages import positions
from eskernel.projections.progress import Progress
from eskernel.projections.read_model import ReadModel
from eskernel.values import Event

_SHARE: Final = 10
"""Commits that are not urgent take at most one part in so many of the time."""

# Of these, no event is guilty.
_NOT_THE_STATES: Final = (StaleEpoch, StoreUnavailable, CorruptStore)


class Few(NamedTuple):
    """How a commit that failed because of an event nobody knows is repeated: in parts.

    Attributes:
        events: in the next commits; halved until it is known which event it is.
        upto: the position up to which that goes on.
    """

    events: int
    upto: int


class Commits:
    """Keeps the two places of a lane in the log, and moves them.

    Invariant: `progress` says what the model's uncommitted work contains, and `committed` what its
    last commit does. Where an exception leaves it open which is true, `is_lost` is set, and
    nothing may be handled before `undo` has made it good.

    Attributes:
        progress: how far the work has come.
        committed: how far it is committed.
        uncommitted: events handled since.
        few: set while an event is looked for because of which a commit fails.
        is_lost: whether an undo has failed.

    Args:
        model: what is committed.
        slot: where; changes when what was built there comes to serve.
        options: say how often.
        clock: measures that.
        progress: where it begins.
    """

    def __init__(
        self, model: ReadModel, slot: str, options: Projection, clock: Clock, progress: Progress
    ) -> None:
        self.slot = slot
        self._model = model
        self._options = options
        self._clock = clock
        self._due = 0.0
        self.restart_at(progress)

    def restart_at(self, progress: Progress) -> None:
        """Begin anew, with what is stored, or with nothing."""
        self.progress = self.committed = progress
        self.uncommitted = 0
        self.few: Few | None = None
        self.is_lost = False
        self._last: Event | None = None

    def note(self, handled: list[Event], reached: int) -> None:
        """Note that events were handled, and the log looked at up to a position."""
        self.uncommitted += len(handled)
        self._last = handled[-1] if handled else self._last
        self.progress = self.progress.moved(positions(handled), reached)

    def undo(self) -> None:
        """Drop what is not committed; raises the store's errors."""
        self.progress = self.committed  # or less would be there than is shown, if undoing fails
        self.uncommitted = 0
        self.is_lost = True
        self.progress = self.committed = self._model.undo(self.slot)
        self.is_lost = False

    def commit(self, epoch: int | None) -> tuple[Event, Exception] | None:
        """Commit what was handled.

        Args:
            epoch: of the lease, if there is one.

        Returns:
            The event that is at fault, if it has become clear which, and its error.

        Raises:
            StaleEpoch, StoreUnavailable, CorruptStore: the commit failed, and was undone.
        """
        begun = perf_counter()
        try:
            self._model.commit(self.slot, self.progress, epoch)
        except _NOT_THE_STATES:
            self._undo_commit()
            raise
        except Exception as error:  # noqa: BLE001 - of an event in it
            return self._blame(error)
        self.committed = self.progress
        self.uncommitted = 0
        if self.few is not None and self.progress.position >= self.few.upto:
            self.few = None
        pause = max(self._options.checkpoint_seconds, _SHARE * (perf_counter() - begun))
        self._due = self._clock.monotonic() + pause
        return None

    def _undo_commit(self) -> None:
        """Undo after a commit that failed; what is not undone, as it is whole, is still due."""
        committed, count, upto = self.committed, self.uncommitted, self.progress.position
        self.undo()
        if self.progress.position >= upto:
            self.committed, self.uncommitted = committed, count

    def _blame(self, error: Exception) -> tuple[Event, Exception] | None:
        """Find the event because of which a commit failed: by commits of half as many."""
        count, last, upto = self.uncommitted, self._last, self.progress.position
        self._undo_commit()
        if self.progress.position >= upto:  # the state could be stored, so no event is guilty
            raise StoreUnavailable.because(error, outcome_unknown=True) from error
        if count > 1 or last is None:
            self.few = Few(max(1, count // 2), upto)
            return None
        return last, error

    def is_anything(self) -> bool:
        """Whether there is something to commit that should not be lost."""
        return bool(self.uncommitted) or self.progress.parked is not self.committed.parked

    def is_due(self) -> bool:
        """Whether there is something to commit, and it is time to."""
        moved = self.progress.position > self.committed.position
        many = self.uncommitted >= self._options.checkpoint_events
        return moved and (many or self._clock.monotonic() >= self._due)

    def due_at(self) -> float:
        """Return when a commit is due even without more events, on the monotonic clock."""
        moved = self.progress.position > self.committed.position
        return self._due if moved else float("inf")

    def put(self, progress: Progress, epoch: int | None) -> None:
        """Commit a change of the progress that no event makes; raises what the model raises."""
        try:
            self._model.commit(self.slot, progress, epoch)
        except Exception:
            self.undo()
            raise
        self.progress = self.committed = progress
