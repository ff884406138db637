"""eskernel: an event-sourcing kernel for threaded Python services."""

from eskernel.values import Accepted, Command, Event, Range, Rejected, Snapshot

__all__ = ["Accepted", "Command", "Event", "Range", "Rejected", "Snapshot"]
