"""Projector: a projection at work, and its rebuild beside it."""

from __future__ import annotations

from typing import Any

from eskernel.errors import CorruptStore, ProjectionBusy, StaleEpoch, StoreUnavailable
from eskernel.projections.consumer import Consumer
from eskernel.projections.lane import Lane
from eskernel.projections.progress import Progress
from eskernel.projections.read_model import BUILDING, PREVIOUS, RebuildableModel
from eskernel.projections.view import Rebuild, Status
from eskernel.values import SERVING


class Projector(Consumer):
    """A Consumer whose read model can be built anew while the old one serves.

    A rebuild is a second lane, from position 0, that gets every other page's turn. What was made
    by another version of the module cannot go on with this one: it serves as it is, and is
    rebuilt at once.

    Args: as `Consumer`; the model is a `RebuildableModel`.
    """

    _model: RebuildableModel
    _building: Lane | None = None
    _frozen = False
    """Whether what serves is of another version."""
    _target = 0

    def _load(self) -> None:
        self._building, self._frozen = None, False
        super()._load()
        if self._is_watching():
            return
        self._frozen = self._serving.progress.version != self._definition.version
        if self.lease.epoch is None:
            return
        if self._frozen:
            self._return_to_previous(self.lease.epoch)
        self._resume_rebuild(self.lease.epoch)

    def _return_to_previous(self, epoch: int) -> None:
        """Serve again what served before, if this version made it: a deployment taken back."""
        previous = self._model.peek(PREVIOUS)
        if previous is None or previous.version != self._definition.version:
            return
        serving = self._serving.progress
        again = previous._replace(generation=serving.generation + 1)
        self._model.roll_back(serving, again, epoch)
        if not self._serving.load():
            raise CorruptStore(f"{self.title} lost its checkpoint; rebuild it from nothing")
        self._frozen = False

    def _resume_rebuild(self, epoch: int) -> None:
        found = self._model.peek(BUILDING)
        if found is not None and found.version == self._definition.version:
            lane = self._lane(BUILDING)
            lane.load()
            self._build(lane)
            return
        if found is not None:
            self._model.drop(BUILDING, epoch)
        if self._frozen:
            self._begin_rebuild()

    def _begin_rebuild(self) -> None:
        lane = self._lane(BUILDING)
        self._begin(lane, Progress(0, self._definition.version))
        self._build(lane)

    def _build(self, lane: Lane) -> None:
        self._target = self._store.last_position()
        self._building = lane
        self._show_rebuild()

    def _look_at_others(self) -> None:
        stored = self._model.peek(SERVING)
        mine = self._serving.progress
        if stored is None:
            return
        changed = (stored.generation, stored.version) != (mine.generation, mine.version)
        # One of another version cannot follow by itself: it shows what the holder has stored.
        if changed or (self._frozen and stored.position > mine.position):
            self._loaded = False

    def _work(self) -> bool:
        more = False if self._frozen else super()._work()
        lane = self._building
        if lane is None or self.lease.epoch is None:
            return more
        try:
            more = lane.advance(self.lease.epoch) or more
        except CorruptStore as error:
            lane.stopped = error  # what serves may be past it
        if self._is_whole(lane.progress) and lane.failure is None and lane.stopped is None:
            self._promote(lane, self.lease.epoch)
        return more or self._building is None

    def _is_whole(self, built: Progress) -> bool:
        return built.position >= max(self._serving.progress.position, self._target)

    def _promote(self, lane: Lane, epoch: int) -> None:
        """Let what was built serve."""
        lane.commit(epoch)
        self._commit_all(epoch)
        if lane.failure is not None or not self._is_whole(lane.committed):
            return  # a commit found an event at fault
        serving = self._serving.committed
        built = lane.committed._replace(generation=serving.generation + 1)
        try:
            self._model.promote(serving, built, epoch)
        except Exception:
            self._loaded = False  # what is stored will tell
            raise
        lane.restart_at(built, SERVING)
        self._serving, self._building, self._frozen = lane, None, False

    def _commit_all(self, epoch: int) -> None:
        if self._serving.stopped is None and not self._frozen:
            super()._commit_all(epoch)

    # What is asked of it; on the thread that steps.

    def rebuild(self) -> None:
        """Begin to build the read model anew, beside the one that serves.

        Raises:
            ProjectionBusy: it is being rebuilt, or another process holds the lease.
        """
        self._require_lease()
        if self._building is not None:
            raise ProjectionBusy(f"{self.title} is being rebuilt already")
        self._begin_rebuild()

    def cancel_rebuild(self) -> None:
        """Drop what was built so far; raises ProjectionBusy if nothing can be cancelled."""
        epoch = self._require_lease()
        if self._building is None or self._frozen:
            raise ProjectionBusy(
                f"{self.title}: no rebuild can be cancelled: "
                + ("what serves is of another version" if self._frozen else "none is under way")
            )
        self._building = None
        try:
            self._model.drop(BUILDING, epoch)
        except Exception:
            self._loaded = False  # what is stored will tell
            raise

    def rollback(self) -> None:
        """Serve again what served before the last rebuild, and let it catch up.

        Raises:
            ProjectionBusy: there is none, or another version of the module made it.
        """
        epoch = self._require_lease()
        previous = self._model.peek(PREVIOUS)
        if self._building is not None or previous is None:
            why = "nothing served before" if previous is None else "it is being rebuilt"
            raise ProjectionBusy(f"{self.title} cannot be rolled back: {why}")
        if previous.version != self._definition.version:
            raise ProjectionBusy(
                f"{self.title} was made by version {previous.version} before: start that version "
                "of the module, and it serves again without a rebuild"
            )
        self._commit_all(epoch)
        serving = self._serving.committed
        again = previous._replace(generation=serving.generation + 1)
        self._loaded = False
        self._model.roll_back(serving, again, epoch)
        self.view.reach(again.position)

    def note_proved(self, stop: int, generation: int) -> bool:
        """Note what an audit has proved; return whether it could be stored."""
        progress = self._serving.progress
        # After a rollback, say, the lane does not know yet what is stored.
        if not self._loaded or self.lease.epoch is None or progress.generation != generation:
            return False
        try:
            self._serving.note_proved(stop, self.lease.epoch)
        except (StaleEpoch, StoreUnavailable):
            return False  # the next audit proves it again
        return True

    def read(self, function: Any) -> Any:
        """Return a copy of `function(state)`, at the visible position or after it.

        Raises:
            StoreUnavailable: it was restarted and cannot catch up again.
            TypeError: the projection keeps tables.
        """
        while not self._loaded or self._behind():
            before = self.progress
            if self.step() and (not self._loaded or self.progress == before):
                raise StoreUnavailable(
                    f"{self.title} cannot be read just now: {self.view.error}",
                    outcome_unknown=False,
                )
        return self._model.read(function)

    def _behind(self) -> bool:
        behind = self.progress.position < self.view.position
        return behind and not self._frozen and self._serving.stopped is None

    # What others see.

    def _show(self, *, more: bool) -> None:
        self._show_rebuild()
        super()._show(more=more)

    def _show_rebuild(self) -> None:
        lane, found = self._building, None
        if lane is not None:
            target = max(self._target, self._serving.progress.position)
            found = Rebuild(lane.progress.position, target, lane.error)
        self.view.rebuild = found  # in one step, for those who wait for its end

    def _status(self, *, more: bool) -> Status:
        return Status.REBUILDING if self._frozen else super()._status(more=more)

    def _pause(self) -> float:
        pause = super()._pause()
        if self._building is None:
            return pause
        left = self._building.waits_until() - self._clock.monotonic()
        return max(0.001, min(pause, left))
