"""RunningProjection: what `Kernel.projection` returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eskernel.actors.consuming.actor import Post
from eskernel.actors.consuming.running import RunningConsumer
from eskernel.contracts import EventStore
from eskernel.projections.audit import Audit, audit
from eskernel.projections.bound import Bound
from eskernel.projections.view import Rebuild, View


class RunningProjection(RunningConsumer):
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
        super().__init__("projection", bound.definition.name, view, post, store, timeout)
        self._bound = bound

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
    def version(self) -> str:
        """Of the module that made what is visible."""
        return self._view.version

    @property
    def rebuilding(self) -> Rebuild | None:
        """The rebuild under way, with its progress; None if there is none."""
        return self._view.rebuild

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

    def audit(self, *, full: bool = False) -> Audit:
        """Compare what was handled with the log, on this thread; see `Kernel.audit`."""
        progress = self._ask(lambda projector: projector.progress)
        found = audit(self._bound.definition, self._store, progress, full=full)
        stop, generation = found.proved + 1, progress.generation
        if stop > progress.ledger.proved.stop:
            self._ask(lambda projector: projector.note_proved(stop, generation))
        return found
