"""RunningProjection: what `Kernel.projection` returns."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

import pykka

from eskernel.actors.aggregate.limits import check_seconds
from eskernel.actors.consuming.actor import Call, Post
from eskernel.actors.supervision import ask
from eskernel.contracts import EventStore
from eskernel.errors import DispatchTimeout, KernelStopped, NotProjected, ReentrantDispatch
from eskernel.projections.audit import Audit, audit
from eskernel.projections.bound import Bound
from eskernel.projections.progress import Parked
from eskernel.projections.projector import Projector
from eskernel.projections.view import Rebuild, Status, View
from eskernel.values import Accepted

_LOOK_AGAIN: Final = 0.005  # seconds


class RunningProjection:
    """A projection of a running kernel; every method is thread-safe.

    What changes it (`rebuild`, `cancel_rebuild`, `rollback`, `retry`, `discard`) is refused with
    `ProjectionBusy` while another process holds the projection's lease.

    Args:
        bound: the projection.
        view: what its actor shows.
        post: where its actor is.
        store: the log.
        timeout: seconds to wait for the actor, unless told otherwise.
    """

    def __init__(
        self, bound: Bound, view: View, post: Post, store: EventStore, timeout: float
    ) -> None:
        self._bound = bound
        self._view = view
        self._post = post
        self._store = store
        self._timeout = timeout

    def __repr__(self) -> str:
        view = self._view
        return f"<projection {self.name!r}: {view.status.value}, at {view.position}>"

    # Looking.

    @property
    def name(self) -> str:
        """The name it is registered under."""
        return self._bound.definition.name

    @property
    def state(self) -> Any:
        """A copy of the state, at `position` or after it.

        Raises:
            TypeError: the projection keeps tables; query them.
            EskernelError: as `read`.
        """
        return self.read(lambda state: state)

    def read(self, function: Callable[[Any], Any], *, timeout: float | None = None) -> Any:
        """Return a copy of `function(state)`: of a large state, only what is wanted is copied.

        Args:
            function: run on the projection's thread; must be quick and must change nothing.
            timeout: seconds to wait for it; None for the kernel's `dispatch_timeout`.

        Raises:
            DispatchTimeout: no answer in time.
            NotStorable: what the function returns cannot be copied.
            StoreUnavailable: the projection was restarted and cannot catch up just now.
            KernelStopped: the kernel is not running.
        """
        return self._ask(lambda projector: projector.read(function), timeout)

    @property
    def position(self) -> int:
        """Everything up to this position is visible."""
        return self._view.position

    @property
    def lag(self) -> int:
        """How many positions the log is ahead; reads the log's newest position."""
        return max(0, self._store.last_position() - self._view.position)

    @property
    def status(self) -> Status:
        """What it is doing."""
        return self._view.status

    @property
    def error(self) -> Exception | None:
        """What has failed; None when all is well."""
        return self._view.error

    @property
    def version(self) -> str:
        """Of the module that made what is visible."""
        return self._view.version

    @property
    def parked(self) -> tuple[Parked, ...]:
        """The events that were put aside because they failed."""
        return self._view.parked

    @property
    def rebuilding(self) -> Rebuild | None:
        """The rebuild under way, with its progress; None if there is none."""
        return self._view.rebuild

    def wait_for(
        self,
        position: int | None = None,
        timeout: float | None = None,
        *,
        accepted: Accepted | None = None,
    ) -> None:
        """Return when everything up to a position is visible.

        Args:
            position: of the log, for example `Accepted.position`; None for the newest there is.
            timeout: seconds to wait; None for the kernel's `dispatch_timeout`.
            accepted: the outcome whose events are waited for, to be told in the error.

        Raises:
            NotProjected: it is not in time, or the projection has stopped before it.
            KernelStopped: the kernel was stopped.
        """
        seconds = self._timeout if timeout is None else timeout
        check_seconds("timeout", seconds)
        view = self._view
        if position is None:
            position = self._store.last_position()
        if view.wait_for(position, seconds):
            return
        if view.status is Status.ENDED:
            raise KernelStopped("it was stopped while a projection was waited for")
        why = f"did not see position {position} within {seconds:g} s"
        if view.status is Status.STOPPED:
            why = (
                f"has stopped before position {position}: {view.error!r}; "
                "mend it and start again, or call resume()"
            )
        raise NotProjected(
            f"projection {self.name!r} {why}; it is at {view.position}"
            + ("" if accepted is None else "; the command's events are stored"),
            self.name,
            position,
            view.position,
            accepted,
        ) from view.error

    # Changing.

    def rebuild(self) -> None:
        """Build it anew from position 0, beside what serves, and switch when that has caught up.

        Returns at once; `rebuilding` shows the progress.

        Raises:
            ProjectionBusy: it is being rebuilt already.
        """
        self._ask(lambda projector: projector.rebuild())

    def cancel_rebuild(self) -> None:
        """Drop what was built so far; raises ProjectionBusy if no rebuild can be cancelled."""
        self._ask(lambda projector: projector.cancel_rebuild())

    def rollback(self) -> None:
        """Serve again what served before the last rebuild, and let that catch up.

        Raises:
            ProjectionBusy: there is nothing, or another version of the module made it.
        """
        self._ask(lambda projector: projector.rollback())

    def retry(self, position: int) -> None:
        """Handle a parked event now, at the end of all that was handled since.

        Raises:
            LookupError: no event is parked at this position.
            Exception: whatever the handler raises; the event stays parked.
        """
        self._ask(lambda projector: projector.retry_parked(position))

    def discard(self, position: int) -> None:
        """Give a parked event up; raises LookupError if none is parked at this position."""
        self._ask(lambda projector: projector.discard_parked(position))

    def resume(self) -> None:
        """Have a projection that has stopped try its event again."""
        self._ask(lambda projector: projector.resume())

    def audit(self, *, full: bool = False) -> Audit:
        """Compare what was handled with the log, on this thread; see `Kernel.audit`."""
        progress = self._ask(lambda projector: projector.progress)
        found = audit(self._bound.definition, self._store, progress, full=full)
        stop, generation = found.proved + 1, progress.generation
        if stop > progress.ledger.proved.stop:
            self._ask(lambda projector: projector.note_proved(stop, generation))
        return found

    def _ask(self, function: Callable[[Projector], Any], timeout: float | None = None) -> Any:
        """Have the actor run a function; one that is being restarted is waited for."""
        seconds = self._timeout if timeout is None else timeout
        check_seconds("timeout", seconds)
        if threading.get_ident() == self._post.thread:
            raise ReentrantDispatch(
                f"projection {self.name!r} asked for itself, in a handler of its own"
            )
        deadline = time.monotonic() + seconds
        while self._view.status is not Status.ENDED:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            ref = self._post.ref
            if ref is not None:
                try:
                    return ask(ref, Call(function), left)
                except pykka.ActorDeadError:
                    pass
                except pykka.Timeout:
                    break
            time.sleep(_LOOK_AGAIN)
        else:
            raise KernelStopped("it was stopped")
        raise DispatchTimeout(
            f"projection {self.name!r} did not answer within {seconds:g} s", started=True
        )
