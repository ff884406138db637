"""Events, snapshots and checkpoints in MongoDB, through pymongo."""

from eskernel_stores.mongo.store import MongoStore

__all__ = ["MongoStore"]
