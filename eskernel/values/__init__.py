"""Immutable values: what users send, what is stored, what comes back."""

from eskernel.values.checkpoint import SERVING, Checkpoint, Lease
from eskernel.values.command import NO_METADATA, Command
from eskernel.values.event import Event, Row
from eskernel.values.identifier import StreamId, check_identifier
from eskernel.values.outcome import Accepted, Rejected
from eskernel.values.range import Range
from eskernel.values.shard import shard_of
from eskernel.values.snapshot import Receipt, Snapshot

__all__ = [
    "NO_METADATA",
    "SERVING",
    "Accepted",
    "Checkpoint",
    "Command",
    "Event",
    "Lease",
    "Range",
    "Receipt",
    "Rejected",
    "Row",
    "Snapshot",
    "StreamId",
    "check_identifier",
    "shard_of",
]
