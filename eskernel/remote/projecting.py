"""RemoteProjection: a projection that runs in other processes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

from eskernel.errors import NotImportable, NotProjected
from eskernel.projections.audit import Audit, Discrepancy
from eskernel.projections.progress import Parked
from eskernel.projections.view import Rebuild, Status
from eskernel.remote.failures import fields_to_failure
from eskernel.remote.paths import path_of
from eskernel.values import Accepted


class AskProjection(Protocol):
    """Asks the kernel of an index about a projection, and returns the answer or raises it."""

    def __call__(self, index: int, name: str, seconds: float | None, /, *what: Any) -> Any: ...  # noqa: D102


class RemoteProjection:
    """A projection of kernels in other processes, as `RunningProjection` is of one's own.

    Each of the kernels has it, and one holds its lease and works. That one is asked; while none
    is known, any.

    Attributes:
        name: what the user calls it.

    Args:
        name: what the user calls it.
        ask: asks one of the kernels.
        kernels: how many there are.
    """

    def __init__(self, name: str, ask: AskProjection, kernels: int) -> None:
        self.name = name
        self._ask = ask
        self._kernels = kernels
        self._active = 0  # the index of the kernel that was active when it was looked for last

    def __repr__(self) -> str:
        seen = self._seen()
        return f"<projection {self.name!r}: {seen['status']}, at {seen['position']}>"

    @property
    def state(self) -> Any:
        """A copy of the state; raises TypeError for one with tables."""
        return self.read(None)

    def read(self, function: Callable[[Any], Any] | None, *, timeout: float | None = None) -> Any:
        """Return a copy of `function(state)`.

        A function of a module runs where the state is, and only what it returns travels. Any other
        gets a copy of the whole state here.

        Args:
            function: quick, and changes nothing; None for the whole state.
            timeout: seconds to wait; None for the kernel's `dispatch_timeout`.
        """
        path = None
        if function is not None:
            try:
                path = path_of(function)
            except NotImportable:
                return function(self.read(None, timeout=timeout))
        return self._ask_active("read", path, timeout, seconds=timeout)

    @property
    def position(self) -> int:
        """Everything up to this position was handled, and what was made of it is visible."""
        return int(self._seen()["position"])

    @property
    def lag(self) -> int:
        """How many positions the log is ahead."""
        return int(self._ask_active("lag"))

    @property
    def status(self) -> Status:
        """What it is doing."""
        return Status(self._seen()["status"])

    @property
    def error(self) -> Exception | None:
        """What has failed; None when all is well."""
        fields = self._seen()["error"]
        return None if fields is None else fields_to_failure(fields, {})

    @property
    def active(self) -> bool:
        """Whether one of these kernels holds its lease."""
        return bool(self._seen()["active"])

    @property
    def parked(self) -> tuple[Parked, ...]:
        """The events that were put aside because they failed."""
        return tuple(Parked(*one) for one in self._seen()["parked"])

    @property
    def version(self) -> str:
        """Of the module that made what is visible."""
        return str(self._seen()["version"])

    @property
    def rebuilding(self) -> Rebuild | None:
        """The rebuild under way; None if there is none."""
        fields = self._seen()["rebuilding"]
        if fields is None:
            return None
        position, target, error = fields
        return Rebuild(position, target, None if error is None else fields_to_failure(error, {}))

    def wait_for(
        self,
        position: int | None = None,
        timeout: float | None = None,
        *,
        accepted: Accepted | None = None,
    ) -> None:
        """Return when everything up to a position was handled; see `RunningProjection.wait_for`."""
        try:
            self._ask_active("wait_for", position, timeout, seconds=timeout)
        except NotProjected as error:
            error.accepted = accepted
            raise

    def audit(self, *, full: bool = False) -> Audit:
        """Compare what was handled with the log; see `Kernel.audit`."""
        position, proved, events, discrepancies, parked, discarded = self._ask_active(
            "audit", full, seconds=math.inf
        )
        found = tuple(Discrepancy(*one) for one in discrepancies)
        return Audit(position, proved, events, found, parked, discarded)

    def retry(self, position: int) -> None:
        """Handle a parked event now; see `RunningProjection.retry`."""
        self._ask_active("retry", position)

    def discard(self, position: int) -> None:
        """Give a parked event up; see `RunningProjection.discard`."""
        self._ask_active("discard", position)

    def resume(self) -> None:
        """Have one that has stopped try its event again."""
        self._ask_active("resume")

    def rebuild(self) -> None:
        """Build it anew, beside what serves; see `RunningProjection.rebuild`."""
        self._ask_active("rebuild")

    def cancel_rebuild(self) -> None:
        """Drop what was built so far; raises ProjectionBusy if no rebuild can be cancelled."""
        self._ask_active("cancel_rebuild")

    def rollback(self) -> None:
        """Serve again what served before the last rebuild."""
        self._ask_active("rollback")

    def _seen(self, seconds: float | None = None) -> dict[str, Any]:
        """Return what the active kernel shows, or if there is none another."""
        seen: dict[str, Any] = {}
        for step in range(self._kernels):
            index = (self._active + step) % self._kernels
            seen = self._ask(index, self.name, seconds, "seen")
            if seen["active"]:
                self._active = index
                break
        return seen

    def _ask_active(self, *what: Any, seconds: float | None = None) -> Any:
        """Ask the active kernel; one that is not says so if it matters."""
        self._seen(seconds)
        return self._ask(self._active, self.name, seconds, *what)
