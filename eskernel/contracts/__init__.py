"""What the kernel asks of the things plugged into it."""

from eskernel.contracts.clock import Clock
from eskernel.contracts.domain import Domain
from eskernel.contracts.event_store import BatchingEventStore, Commit, EventStore
from eskernel.contracts.middleware import CallNext, Middleware
from eskernel.contracts.snapshot_store import SnapshotStore

__all__ = [
    "BatchingEventStore",
    "CallNext",
    "Clock",
    "Commit",
    "Domain",
    "EventStore",
    "Middleware",
    "SnapshotStore",
]
