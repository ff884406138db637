"""Documents with entries whose values may be large.

MongoDB writes a document anew at every change, and takes none of more than 16 MB. So a large value
is kept in pieces, elsewhere. A document has a list `loose` of the values that have pieces although
no entry points at them, so that nothing is lost or left behind, whoever fails when:

1. A writer puts its value on the list, under a fresh id.
2. It writes the pieces.
3. One update of the document has an entry point at the value, takes it from the list, and puts on
   the list, as dead, what no entry points at any more. It demands that the value is on the list,
   and not dead.
4. The pieces of the dead are deleted, and then the dead are taken from the list.

A writer that fails between 1 and 3 leaves its value on the list. `PATIENCE` later the next update
declares it dead; a writer that still lives then cannot point at it any more. One that fails between
3 and 4 leaves the dead to the next. A reader that misses a piece was overtaken by an update, and
reads the document again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, TypeAlias

from bson import Binary
from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError, OperationFailure

from eskernel.errors import StoreUnavailable
from eskernel_stores.mongo.database import Database, Document, Documents, Pipeline
from eskernel_stores.mongo.large.failures import Missing, TooLarge
from eskernel_stores.mongo.large.updates import PATIENCE, announced, announcing, pointing
from eskernel_stores.mongo.large.values import Large, LargeValues

INLINE: Final = 256 * 1024
"""Bytes above which a value is large."""

TOGETHER: Final = 4 * 1024 * 1024
"""Bytes that all values kept within one document should not exceed together."""

_TOO_LARGE: Final = (10334, 17419, 17420)
"""What servers call a document of more than 16 MB, depending on where they notice."""

Parts: TypeAlias = tuple[bytes, ...]
"""A value, as the bytes of each of its fields."""


class LargeDocuments:
    """Documents of one collection, each changed by one update at a time.

    Args:
        database: where they are.
        collection: its name.
        field: the name of the array of entries. An entry whose value is large has, in the value's
            place, a field `large` with a `Large.stored`.
        parts: the names of the fields of an entry that together are its value.
        empty: the other fields of a new document.
    """

    def __init__(
        self,
        database: Database,
        collection: str,
        field: str,
        parts: Sequence[str],
        empty: Document,
    ) -> None:
        self._database = database
        self._collection = collection
        self._field = field
        self._parts = parts
        self._empty = {**empty, field: [], "loose": []}
        self._values = LargeValues(database)

    def read(self, find: Callable[[], Document | None]) -> tuple[Document, Parts] | None:
        """Return an entry and its value.

        Args:
            find: returns the entry as it is now, or None.

        Raises:
            Missing: the value has pieces missing.
            StoreUnavailable: the servers cannot be reached.
        """
        missed = None
        while (entry := find()) is not None:
            if "large" not in entry:
                return entry, tuple(entry[part] for part in self._parts)
            large = Large.of(entry["large"])
            if value := self._values.read(large):
                return entry, value
            if large == missed:
                raise Missing(entry)
            missed = large  # if it was replaced meanwhile, the next look finds another
        return None

    def filled(
        self, entry: Document, value: Parts, inline: int
    ) -> tuple[Document, list[tuple[Large, Parts]]]:
        """Give an entry its value, or have it point there.

        Args:
            entry: has no value yet.
            value: its parts.
            inline: bytes that the value may have to be kept within the entry.

        Returns:
            The entry, and what is still to be written: the value if it is large, or nothing.
        """
        if sum(map(len, value)) <= inline:
            return {**entry, **dict(zip(self._parts, map(Binary, value), strict=True))}, []
        large = Large.new(value)
        return {**entry, "large": large.stored()}, [(large, value)]

    def collection(self) -> Documents:
        """Return the collection."""
        return self._database.collection(self._collection)

    def update(
        self, key: str, condition: Document, update: Pipeline, *, writing: bool = True
    ) -> Document | None:
        """Update a document and return it without its entries; None if none meets the condition.

        Args:
            key: its `_id`.
            condition: a query that it must meet.
            update: a pipeline.
            writing: as for `Database.translating`.

        Raises:
            StoreUnavailable: the servers cannot be reached.
            TooLarge: the document would be too large.
        """
        with self._database.translating(writing=writing):
            try:
                return self.collection().find_one_and_update(
                    {"_id": key, **condition},
                    update,
                    projection={self._field: 0},
                    return_document=ReturnDocument.AFTER,
                )
            except OperationFailure as error:
                if error.code in _TOO_LARGE:
                    raise TooLarge from error
                raise

    def create(self, key: str) -> None:
        """Make a document without entries, unless there is one; raises StoreUnavailable."""
        with self._database.translating(writing=False), suppress(DuplicateKeyError):
            self.collection().insert_one(self.new(key))

    def new(self, key: str) -> Document:
        """Return a document to be inserted."""
        return {"_id": key, **self._empty}

    def replace(
        self,
        key: str,
        entries: Any,
        large: Sequence[tuple[Large, Parts]],
        *,
        condition: Document | None = None,
        also: Pipeline | None = None,
        refuse: Callable[[Document], None] | None = None,
    ) -> Document:
        """Replace entries of a document, which is made if there is none.

        Args:
            key: its `_id`.
            entries: an expression for the entries as they shall be.
            large: the values that new ones point at, with their parts.
            condition: a query that the document must meet; nothing is stored unless it does.
            also: stages that change other fields in the same update.
            refuse: is given the document if it was not updated; raises the caller's error if the
                document does not meet the condition.

        Returns:
            The document's other fields.

        Raises:
            StoreUnavailable: the servers cannot be reached.
            TooLarge: the document would be too large.
        """
        places = [one for one, _ in large]
        wanted = {} if condition is None else condition
        if large:
            while self.update(key, wanted, announcing(places), writing=False) is None:
                self._see(key, refuse)
            for one, parts in large:
                self._values.write(one, parts)
        wanted = {**wanted, **announced(places)}
        update = [*(also or ()), *pointing(self._field, entries, places)]
        while (found := self.update(key, wanted, update)) is None:
            found = self._see(key, refuse)
            if found is not None and places and self._points_at(found, places):
                break
        self._delete_dead(key, found["loose"])
        return found

    def _see(self, key: str, refuse: Callable[[Document], None] | None) -> Document | None:
        """Return a document that was not updated, unless refused; None if it had to be made."""
        with self._database.translating(writing=False):
            found = self.collection().find_one(
                {"_id": key}, {f"{self._field}.{part}": 0 for part in self._parts}
            )
        if found is None:
            self.create(key)
        elif refuse is not None:
            refuse(found)
        return found

    def _points_at(self, document: Document, places: Sequence[Large]) -> bool:
        """Return whether entries point at values: an update sent twice is refused the second time.

        Raises:
            StoreUnavailable: the values were declared dead.
        """
        wanted = {one.value for one in places}
        if wanted <= {one["large"]["value"] for one in document[self._field] if "large" in one}:
            return True
        if wanted <= {one["value"] for one in document["loose"] if not one["dead"]}:
            return False
        with suppress(StoreUnavailable):
            self._values.delete((one.value, one.pieces) for one in places)
        raise StoreUnavailable(
            f"writing took longer than {PATIENCE:.0f} seconds and was given up; "
            "nothing was stored, try again"
        )

    def _delete_dead(self, key: str, loose: Sequence[Document]) -> None:
        """Delete the dead of a list, and take them from it; what fails is left to the next."""
        dead = [(one["value"], one["pieces"]) for one in loose if one["dead"]]
        if not dead:
            return
        with suppress(StoreUnavailable):
            self._values.delete(dead)
            gone = {"loose": {"value": {"$in": [value for value, _ in dead]}}}
            with self._database.translating(writing=False):
                self.collection().update_one({"_id": key}, {"$pull": gone})
