"""Guards: leases that appends depend on, and how it is made sure that nothing gets past them.

No transaction spans a lease and the log. The log itself keeps the two in order:

1. Who takes a lease under a new epoch changes the lease's document, then inserts a *marker* at the
   log's end, as if it were an append, and only then counts as having the lease.
2. A writer learns the log's end, then makes sure that the epoch is the newest, then inserts right
   behind that end.

**Nothing gets past.** Say that a writer has found an epoch to be the newest, and that another is
given a larger one. Either the lease's document was changed before the writer looked at it: then the
writer sees it. For it looks by a change of its own, `guards`, that a majority acknowledges, and of
changes of one document the later sees the earlier, whichever server is the primary. (A read might
be answered by a primary that was deposed, or that does not know yet what a majority has.) Or it was
changed later, and the marker inserted later still: then the marker is behind the end that the
writer knew. The log has no holes, so at the place at which the writer inserts there is the marker,
or something before it, or nothing yet. If there is something, the server refuses the writer; that
may have slept as long as it likes. If there is nothing, the append comes to stand before the
marker, and who reads after the marker was acknowledged reads the append.

**Once is enough.** While a writer's inserts follow upon each other there is no marker between them,
so what held at the first holds at the last. `Frontier` remembers it, looks for markers where others
have inserted, and forgets all when it finds one. So an append costs nothing more as a rule.

**Who fails between the two.** The lease's document says in `marked` for which epoch there is a
marker. Whoever takes a lease that is behind, its owner who renews it or another, inserts one. A
name of which `guards` is 0 needs none: nothing that was appended depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pymongo import UpdateOne

from eskernel_stores.mongo import lease_updates as updates
from eskernel_stores.mongo.database import Database, Pipeline


class Guards:
    """What appends ask of leases, in the collection of checkpoints.

    Args:
        database: where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._names = updates.documents(database)

    def stale(self, fences: Mapping[str, int]) -> dict[str, int]:
        """Return the newest epochs of those names for which another than the newest was given.

        Args:
            fences: epochs by name.

        Raises:
            StoreUnavailable: the servers cannot be reached.
        """
        if not fences or self._all_match(fences, updates.GUARDING):
            return {}
        newest = {name: self._newest(name) for name in fences}
        return {name: epoch for name, epoch in newest.items() if epoch != fences[name]}

    def mark(self, fences: Mapping[str, int]) -> bool:
        """Note that there is a marker for epochs; return whether all of them are the newest.

        Raises:
            StoreUnavailable: the servers cannot be reached.
        """
        return self._all_match(fences, updates.MARKING)

    def _all_match(self, fences: Mapping[str, int], update: Pipeline) -> bool:
        """Update the names whose newest epoch is the one given; return whether it is of all."""
        asked: Any = [
            UpdateOne({"_id": name, "epoch": epoch}, update) for name, epoch in fences.items()
        ]
        with self._database.translating(writing=False):
            result = self._names.collection().bulk_write(asked, ordered=False)
        return result.matched_count == len(fences)

    def _newest(self, name: str) -> int:
        """Return a name's newest epoch; whoever takes the lease after this inserts a marker."""
        while (found := self._names.update(name, {}, updates.GUARDING, writing=False)) is None:
            self._names.create(name)
        return int(found["epoch"])
