"""Events, snapshots and checkpoints in the streams of NATS JetStream."""

from eskernel_stores.jetstream.store import JetStreamStore

__all__ = ["JetStreamStore"]
