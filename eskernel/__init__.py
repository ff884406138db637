"""eskernel: an event-sourcing kernel for threaded Python services."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eskernel.actors.consuming.callback import RunningSubscription
from eskernel.actors.consuming.projecting import RunningProjection
from eskernel.actors.consuming.subscribing import Subscription
from eskernel.actors.owning.options import ShardLeases
from eskernel.kernel import Kernel
from eskernel.projections import Projection, project
from eskernel.values import Accepted, Command, Event, Range, Rejected, Snapshot

if TYPE_CHECKING:
    from eskernel.processes import ProcessKernel
    from eskernel.projections.tables import TableConnection

__all__ = [
    "Accepted",
    "Command",
    "Event",
    "Kernel",
    "ProcessKernel",
    "Projection",
    "Range",
    "Rejected",
    "RunningProjection",
    "RunningSubscription",
    "ShardLeases",
    "Snapshot",
    "Subscription",
    "TableConnection",
    "project",
]


def __getattr__(name: str) -> Any:
    """Import SQLAlchemy only for those who have tables, and processes for those who want some."""
    if name == "TableConnection":
        from eskernel.projections.tables import TableConnection  # noqa: PLC0415

        return TableConnection
    if name == "ProcessKernel":
        from eskernel.processes import ProcessKernel  # noqa: PLC0415

        return ProcessKernel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
