"""Frontier: where the log ends as far as a writer knows, and which epochs are the newest there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from eskernel_stores.mongo.database import Database, Document, Documents
from eskernel_stores.mongo.documents import MARKER, end_of
from eskernel_stores.mongo.guards import Guards
from eskernel_stores.mongo.schema import EVENTS

NEAR: Final = 256
"""Positions in which to look for what others have inserted; beyond them the end is asked for."""

_PLACE: Final = {"count": 1, MARKER: 1}  # the fields that tell where an append ends, and what it is


class Frontier:
    """The log's end, and epochs; used by one thread at a time.

    Args:
        database: where the log is.
        guards: know the epochs.
    """

    def __init__(self, database: Database, guards: Guards) -> None:
        self._database = database
        self._guards = guards
        # An end that the log had, as a majority knows. None before the first look.
        self._at: int | None = None
        # By name. Each was the newest at a time when the log had reached some position, and from
        # there up to `_at` is no marker. So it is still the newest for whoever inserts at `_at`.
        self._newest: dict[str, int] = {}

    def look(self) -> int:
        """Return where the log ends now, as a majority has it.

        Raises:
            StoreUnavailable: the servers cannot be reached.
        """
        end = None if self._at is None else self._near(self._at)
        if end is None:
            self._newest.clear()
            end = _end_of(self._last())
        self._at = end
        return end

    def last_event(self) -> int:
        """Return the position of the log's last event; raises StoreUnavailable."""
        found = self._last()
        if found is not None and MARKER in found:
            found = self._last({MARKER: {"$exists": False}})
        return _end_of(found)

    def reach(self, end: int) -> None:
        """Take note of where this writer's appends end, inserted behind the end that it knew."""
        self._at = end

    def reach_marker(self, end: int) -> None:
        """Take note of a marker that this writer has inserted behind the end that it knew."""
        self._newest.clear()
        self._at = end

    def stale(self, fences: Mapping[str, int]) -> dict[str, int]:
        """Return the newest epochs of those names for which another than the newest was given.

        The others' are the newest for whoever inserts behind the end that was seen last.

        Args:
            fences: epochs by name.

        Raises:
            StoreUnavailable: the servers cannot be reached.
        """
        unsure = {name: one for name, one in fences.items() if self._newest.get(name) != one}
        stale = self._guards.stale(unsure)
        self._newest.update((name, one) for name, one in unsure.items() if name not in stale)
        return stale

    def mark(self, fences: Mapping[str, int]) -> None:
        """Have it noted for which epochs the last marker is; raises StoreUnavailable."""
        if self._guards.mark(fences):
            self._newest.update(fences)

    def _near(self, at: int) -> int | None:
        """Return the end, if it is near one that was seen; forget epochs if a marker is between."""
        places: Any = [*range(at + 1, at + NEAR + 1)]  # found by their keys, one by one
        with self._database.translating(writing=False):
            found = [*self._events().find({"_id": {"$in": places}}, _PLACE, sort=[("_id", 1)])]
        end = at
        for document in found:
            if document["_id"] != end + 1:
                return None  # one is missing
            end = int(end_of(document, "_id"))
            if MARKER in document:
                self._newest.clear()
        return None if end >= at + NEAR else end

    def _last(self, among: Document | None = None) -> Document | None:
        """Return the last document of the log, or of some of it, if there is one."""
        with self._database.translating(writing=False):
            return self._events().find_one(among, _PLACE, sort=[("_id", -1)])

    def _events(self) -> Documents:
        return self._database.collection(EVENTS)


def _end_of(last: Document | None) -> int:
    """Return the position at which a document ends; 0 for none."""
    return 0 if last is None else int(end_of(last, "_id"))
