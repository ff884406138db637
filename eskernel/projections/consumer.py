"""Consumer: a lane along the log that one process at a time may move.

Longer than most modules: lease, loading and work are one argument about who may do what when, and
`Projector` extends each.
"""

from __future__ import annotations

import random

from eskernel.contracts import CheckpointStore, Clock, EventStore
from eskernel.errors import (
    CorruptStore,
    EskernelError,
    ProjectionBusy,
    StaleEpoch,
    StoreUnavailable,
)
from eskernel.leasing import LeaseKeeper
from eskernel.projections.definition import Definition
from eskernel.projections.failing import delay
from eskernel.projections.lane import Lane
from eskernel.projections.options import Projection
from eskernel.projections.progress import Parked, Progress
from eskernel.projections.read_model import ReadModel
from eskernel.projections.view import Status, View
from eskernel.values import SERVING


class Consumer:
    """Moves a lane in steps; whoever calls `step` is its one thread.

    Between two steps everything may end: a crash repeats what was not committed, invisibly where
    it can be undone. The lease says who works; that nothing is written by one who has lost it is
    the epoch's doing, which every commit carries and the store compares.

    Attributes:
        key: the name of lease and checkpoints.
        title: what messages call it, such as `projection 'balances'`.
        view: where others see it.
        lease: its claim to the lease.

    Args:
        definition: the module.
        options: how it is run.
        model: what it works on.
        store: the log.
        checkpoints: where the lease is; None if nothing is stored.
        key: the name of lease and checkpoints.
        owner: who asks for the lease; unique in the world, so that one that was left behind in a
            call that hangs, and comes back, finds that it holds the lease no more.
        view: where others see it.
        clock: for delays.
        start: the position to begin after, if nothing is stored.
        seed: scatters delays; None for a random one.
    """

    def __init__(
        self,
        definition: Definition,
        options: Projection,
        model: ReadModel,
        store: EventStore,
        checkpoints: CheckpointStore | None,
        key: str,
        owner: str,
        view: View,
        clock: Clock,
        *,
        start: int = 0,
        seed: int | None = None,
    ) -> None:
        self._definition = definition
        self._options = options
        self._model = model
        self._store = store
        self.key = key
        self.title = f"{key.partition('/')[0]} {definition.name!r}"
        self._clock = clock
        self._start = start
        self._rng = random.Random(seed)  # noqa: S311 - jitter
        self.view = view
        self._serving = self._lane(SERVING)
        self.lease = LeaseKeeper(checkpoints, key, owner, options.lease_seconds, clock)
        # Whether the lane has what is stored. Cleared whenever somebody else may have changed it.
        self._loaded = False
        self._outages = 0

    def _lane(self, slot: str) -> Lane:
        return Lane(
            *(self._definition, self._options, self._model, slot),
            *(self._store, self._clock, self._rng),
        )

    @property
    def progress(self) -> Progress:
        """How far the serving lane has come."""
        return self._serving.progress

    @property
    def active(self) -> bool:
        """Whether this process holds the lease."""
        return self.lease.epoch is not None

    def step(self) -> float:
        """Do a share of the work; raises nothing but what interrupts the thread.

        Returns:
            Seconds until there may be more to do; 0 for at once.
        """
        try:
            if self.lease.is_due():
                self._ask_for_lease()
            if not self._loaded:
                self._load()
                self._loaded = True
            more = self._work()
        except StaleEpoch:
            self.lease.lose()
            self._loaded = False
            return 0.0
        except StoreUnavailable as error:
            return self._outage(error)
        except EskernelError as error:  # CorruptStore, or what a user's init has raised
            self._serving.stopped = error
            self._loaded = True
            self._show(more=False)
            return self._options.poll_interval
        except Exception as error:  # noqa: BLE001 - a store's that should have said what it means
            return self._outage(error)
        self._outages = 0
        self._show(more=more)
        return 0.0 if more else self._pause()

    def _outage(self, error: Exception) -> float:
        self._outages += 1
        self._reach()  # what is handled is visible, even if it could not be stored
        self.view.become(Status.RETRYING, error)
        return delay(self._options, self._outages, self._rng)

    # The lease.

    def _ask_for_lease(self) -> None:
        if self.lease.ask():
            self._loaded = False
        elif self.lease.epoch is None:
            self._look_at_others()

    def _look_at_others(self) -> None:
        """Notice what the process that holds the lease has done, beside handling events."""

    def release(self) -> None:
        """Commit what was handled and give the lease back, for another process to go on.

        Raises:
            EskernelError: it could not be done; the lease then runs out.
        """
        if self._loaded and self.lease.epoch is not None and self._serving.stopped is None:
            self._commit_all(self.lease.epoch)
        self.abandon()

    def abandon(self) -> None:
        """Give the lease back without a commit: what was not committed will be done again.

        Raises:
            StoreUnavailable: it could not be done; the lease then runs out.
        """
        self._model.close()
        self.lease.release()

    def _commit_all(self, epoch: int) -> None:
        if self._serving.progress != self._serving.committed:
            self._serving.commit(epoch)

    def close(self) -> None:
        """Let go of what the read model holds, whatever happens to the rest."""
        self._model.close()

    # The work.

    def _load(self) -> None:
        """Make current what is stored, or begin; only looks if others do the work."""
        if self._is_watching():
            return
        if not self._serving.load():
            self._begin(self._serving, Progress.beginning(self._start, self._definition.version))

    def _begin(self, lane: Lane, progress: Progress) -> None:
        try:
            lane.begin(progress)
            if self.lease.epoch is not None:
                lane.commit(self.lease.epoch)  # so that it can be seen, and an empty table queried
        except EskernelError:
            raise
        except Exception as error:
            raise CorruptStore(
                f"{self.title} cannot begin: {type(error).__name__}: {error}; mend its init"
            ) from error

    def _is_watching(self) -> bool:
        """Whether another process does the work, and this one must not."""
        return self._model.shared and self.lease.epoch is None

    def _work(self) -> bool:
        """Do a share of the work; return whether there is more."""
        if self._is_watching():
            self._watch()
            return False
        return self._serving.advance(self.lease.epoch)

    def _watch(self) -> None:
        found = self._model.peek(SERVING)
        if found is not None:
            before = self._serving.progress
            self._serving.restart_at(found)
            if found.position < before.position and found.generation != before.generation:
                self.view.reach(found.position)  # it was rolled back

    # What is asked of it; on the thread that steps.

    def retry_parked(self, position: int) -> None:
        """Try a parked event again.

        Raises:
            LookupError: no event is parked there.
            ProjectionBusy: another process holds the lease.
            Exception: whatever the handler raises; the event stays parked.
        """
        epoch = self._require_lease()
        self._serving.retry(self._parked_at(position), epoch)

    def discard_parked(self, position: int) -> None:
        """Give a parked event up; raises LookupError and ProjectionBusy as `retry_parked`."""
        epoch = self._require_lease()
        self._serving.discard(self._parked_at(position), epoch)

    def resume(self) -> None:
        """Try again where it has stopped; does nothing if it has not."""
        if self.view.status is Status.STOPPED:
            self.view.become(Status.STARTING)  # or who waits from now on would give up at once
        self._loaded = False
        self.lease.ask_soon()

    def _require_lease(self) -> int:
        epoch, holder = self.lease.epoch, self.lease.holder
        if not self._loaded or epoch is None:
            why = f"{holder} holds its lease" if holder else "it has not started"
            raise ProjectionBusy(f"{self.title} is not this process's to change now: {why}")
        return epoch

    def _parked_at(self, position: int) -> Parked:
        for one in self._serving.progress.parked:
            if one.position == position:
                return one
        at = ", ".join(str(one.position) for one in self._serving.progress.parked) or "none"
        raise LookupError(
            f"{self.title} has no event parked at position {position}; parked are: {at}"
        )

    # What others see.

    def _show(self, *, more: bool) -> None:
        lane, view = self._serving, self.view
        view.parked = lane.progress.parked
        view.active = self.active
        view.version = lane.progress.version
        self._reach()
        error = lane.error
        if lane.stopped is not None:
            status = Status.STOPPED
        elif lane.failure is not None:
            status = Status.RETRYING
        else:
            status = self._status(more=more)
        if status is not view.status or error is not view.error:  # a user's may not compare
            view.become(status, error)

    def _reach(self) -> None:
        position = self._serving.progress.position
        if position > self.view.position:
            self.view.reach(position)

    def _status(self, *, more: bool) -> Status:
        if self._is_watching():
            return Status.FOLLOWING
        return Status.CATCHING_UP if more else Status.LIVE

    def _pause(self) -> float:
        now = self._clock.monotonic()
        due = min(self.lease.ask_at, self._serving.waits_until()) - now
        return max(0.001, min(self._options.poll_interval, due))
