"""ProjectionSupervisor: starts and owns the actors that follow the log."""

from __future__ import annotations

from typing import Final

from eskernel.actors.consuming.registry import Registry
from eskernel.actors.supervision import Backoff, Supervisor

_INTENSITY, _PERIOD = 50, 10.0
_BACKOFF: Final = Backoff(first=0.01, longest=1.0)


class ProjectionSupervisor(Supervisor):
    """One child for each projection and each subscription with a callback.

    A failing handler, or a store that is gone, ends no child; what does is somebody killing it.

    Args:
        registry: what to run.
    """

    def __init__(self, registry: Registry) -> None:
        super().__init__(intensity=_INTENSITY, period=_PERIOD, backoff=_BACKOFF)
        self._registry = registry

    def on_start(self) -> None:
        """Announce itself, and start what is to run."""
        self._registry.supervisor = self.actor_ref
        self._specs = self._registry.specs()
        super().on_start()
