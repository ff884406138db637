"""What the kernel asks of the things plugged into it."""

from eskernel.contracts.checkpoint_store import CheckpointStore
from eskernel.contracts.clock import Clock
from eskernel.contracts.domain import Domain
from eskernel.contracts.event_store import BatchingEventStore, Commit, EventStore
from eskernel.contracts.fencing import Fence, FencingEventStore
from eskernel.contracts.hints import HintingEventStore
from eskernel.contracts.middleware import CallNext, Middleware
from eskernel.contracts.snapshot_store import SnapshotStore
from eskernel.contracts.table_store import TableStore, TableTransaction

__all__ = [
    "BatchingEventStore",
    "CallNext",
    "CheckpointStore",
    "Clock",
    "Commit",
    "Domain",
    "EventStore",
    "Fence",
    "FencingEventStore",
    "HintingEventStore",
    "Middleware",
    "SnapshotStore",
    "TableStore",
    "TableTransaction",
]
