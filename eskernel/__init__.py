"""eskernel: an event-sourcing kernel for threaded Python services."""

from eskernel.kernel import Kernel
from eskernel.projections import Projection, project
from eskernel.values import Accepted, Command, Event, Range, Rejected, Snapshot

__all__ = [
    "Accepted",
    "Command",
    "Event",
    "Kernel",
    "Projection",
    "Range",
    "Rejected",
    "Snapshot",
    "project",
]
