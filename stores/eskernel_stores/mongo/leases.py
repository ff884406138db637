"""Leases: in the documents of their names, beside the checkpoints that they guard."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from pymongo.errors import AutoReconnect, BulkWriteError

from eskernel.values import Lease
from eskernel_stores.mongo import lease_updates as updates
from eskernel_stores.mongo.database import Database, Document, Pipeline
from eskernel_stores.mongo.failures import DUPLICATE


class MongoLeases:
    """The leases of a database, which run by the server's clock.

    Args:
        database: where they are.
        mark: inserts a marker into the log for epochs by name; see `guards`.
    """

    def __init__(self, database: Database, mark: Callable[[Mapping[str, int]], None]) -> None:
        self._database = database
        self._mark = mark
        self._names = updates.documents(database)

    def acquire(self, name: str, owner: str, seconds: float) -> Lease:
        """Take or renew a lease; see `CheckpointStore.acquire_lease`."""
        update = updates.acquiring(owner, seconds)
        while (found := self._names.update(name, {}, update)) is None:
            self._names.create(name)
        if found["owner"] == owner:
            self.mark([found])
        return updates.shown(found)

    def acquire_all(self, names: Sequence[str], owner: str, seconds: float) -> list[Lease]:
        """Take or renew leases; see `FencingEventStore.acquire_leases`."""
        if len(names) < 2:
            return [self.acquire(name, owner, seconds) for name in names]
        update = updates.acquiring(owner, seconds)
        while self._update_all(names, {}, update) < len(names):
            self._create_all(names)
        found = self._find_all(names)
        self.mark(one for one in found.values() if one["owner"] == owner)
        return [
            updates.shown(one)
            if (one := found.get(name)) is not None and one["owner"] is not None
            else self.acquire(name, owner, seconds)  # another had it, and gave it back meanwhile
            for name in names
        ]

    def release_all(self, names: Sequence[str], owner: str) -> None:
        """Give leases back; see `FencingEventStore.release_leases`."""
        self._update_all(names, {"owner": owner}, updates.RELEASING)

    def mark(self, documents: Iterable[Document]) -> None:
        """Insert a marker, if there is an epoch that needs one.

        Args:
            documents: of names, as they are after an update.

        Raises:
            StoreUnavailable: there may be a marker, or none.
        """
        fences = {one["_id"]: one["epoch"] for one in documents if updates.is_unmarked(one)}
        if fences:
            self._mark(fences)

    def _update_all(
        self, names: Sequence[str], condition: Document, update: Pipeline | Document
    ) -> int:
        """Update documents, each in a step of its own; return how many met the condition.

        The driver does not repeat an update of many, so this does: a second time changes nothing.
        """
        where = {"_id": {"$in": [*names]}, **condition}
        with self._database.translating(writing=True):
            try:
                return self._names.collection().update_many(where, update).matched_count
            except AutoReconnect:
                return self._names.collection().update_many(where, update).matched_count

    def _create_all(self, names: Sequence[str]) -> None:
        """Make documents for the names that have none."""
        found = self._find_all(names)
        new = [self._names.new(name) for name in names if name not in found]
        if not new:
            return  # others have made them
        with self._database.translating(writing=False):
            try:
                self._names.collection().insert_many(new, ordered=False)
            except BulkWriteError as error:
                if {one["code"] for one in error.details["writeErrors"]} != {DUPLICATE}:
                    raise

    def _find_all(self, names: Sequence[str]) -> dict[str, Document]:
        """Return the documents of names, without checkpoints."""
        with self._database.translating(writing=False):
            found = self._names.collection().find(
                {"_id": {"$in": [*names]}}, {"slots": 0, "loose": 0}
            )
            return {one["_id"]: one for one in found}
