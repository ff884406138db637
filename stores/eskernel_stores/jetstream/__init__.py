"""Events, snapshots and checkpoints in the streams of NATS JetStream, through nats-py.

`store` has the public class. `log` keeps the events; `buckets` keeps snapshots, checkpoints and
leases; both in `streams`, with the names that `subjects` makes. They ask the servers through a
`service`: connections of `connecting`, and `hints`.
"""

from eskernel_stores.jetstream.store import JetStreamStore

__all__ = ["JetStreamStore"]
