"""Events, snapshots and checkpoints in MongoDB, through pymongo.

`store` has the public class. Events: `chain` appends them, with `writing` and `turns`, as
`documents`, and `reading` brings them back. Snapshots and checkpoints: `snapshots`, `checkpoints`
and `leases`, in documents of `large`. Hints: `watcher`. Everything reaches the servers
through `database`, whose errors `failures` explains; `schema` makes the collections.
"""

from eskernel_stores.mongo.store import MongoStore

__all__ = ["MongoStore"]
