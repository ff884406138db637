"""Events, snapshots and checkpoints in MongoDB, through pymongo.

`store` has the public class. Events: `chain` appends them, with `writing`, `streams` and `turns`,
as `documents`; `reading` and `log` bring them back. What keeps out who has lost a lease: `guards`,
with `frontier`. Snapshots, checkpoints and leases: `snapshots`, `checkpoints` and `leases`, with
`lease_updates`, in documents of `large`. Hints: `watcher`. Everything reaches the servers through
`database`, whose errors `failures` explains; `schema` makes the collections.
"""

from eskernel_stores.mongo.store import MongoStore

__all__ = ["MongoStore"]
