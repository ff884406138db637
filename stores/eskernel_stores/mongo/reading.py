"""Reading: the appends of a stream, or of the log, in order.

The server keeps a cursor from page to page, which holds up nobody; if it is lost, another goes on
from there. A page is read whole before its events are handed out.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import suppress
from itertools import chain
from typing import Any, Final, NamedTuple

import bson
import pymongo
from pymongo.cursor import RawBatchCursor
from pymongo.errors import AutoReconnect, CursorNotFound, ExecutionTimeout, PyMongoError

from eskernel.errors import CorruptStore
from eskernel_stores.bounds import LAST
from eskernel_stores.mongo.database import Database, Document
from eskernel_stores.mongo.documents import end_of, stream_of
from eskernel_stores.mongo.schema import EVENTS

PAGE: Final = 1000
"""Appends read at once, unless they have more bytes than a server sends together: 16 MB."""

_GOODBYE: Final = 1.0  # seconds to have a server forget a cursor


class Reading(NamedTuple):
    """A chain of appends: those of a stream by their sequences, or the log by its positions.

    Attributes:
        database: where it is.
        key: the number that orders the appends, of the first event of each: `sequence` or `_id`.
        query: what the appends have in common; see `documents.of_stream`. Empty for the log.
    """

    database: Database
    key: str
    query: dict[str, str]

    def appends(self, start: int, stop: int, *, begins: bool) -> Generator[Document]:
        """Yield the appends that have events of some numbers; the first may begin before them.

        Args:
            start: the first number.
            stop: the one after the last.
            begins: whether it is known that no append goes on at `start`.

        Raises:
            StoreUnavailable: the servers cannot be reached.
            CorruptStore: one of them is missing, or damaged.
        """
        found = self._beginning(start, stop)
        first = next(found, None)
        expected = start
        if not begins and (first is None or first.get(self.key) != start):
            before = self._before(start)
            if before is not None and (end := end_of(before, self.key)) >= start:
                yield before
                expected = end + 1
        for document in chain(() if first is None else (first,), found):
            if document.get(self.key) != expected:
                raise self._missing(expected, document)
            expected = end_of(document, self.key) + 1
            yield document

    def _before(self, start: int) -> Document | None:
        """Return the last append that begins before a number; None if it is the first."""
        if start == 1:
            return None
        with self.database.translating(writing=False):
            return self.database.collection(EVENTS).find_one(
                {**self.query, self.key: {"$lt": start}}, sort=[(self.key, -1)]
            )

    def _beginning(self, start: int, stop: int) -> Iterator[Document]:
        """Yield the appends that begin with some numbers."""
        while True:
            cursor = self._find(start, stop)
            has_begun = False
            try:
                while page := self._page(cursor, has_begun=has_begun):
                    yield from page
                    start = end_of(page[-1], self.key) + 1
                    has_begun = True
            except _LostError:
                pass
            else:
                return
            finally:
                # Else the server ends it, in ten minutes.
                with suppress(PyMongoError), pymongo.timeout(_GOODBYE):
                    cursor.close()

    def _find(self, start: int, stop: int) -> RawBatchCursor[Document]:
        bounds = {}
        if start > 1:
            bounds["$gte"] = start
        if stop < LAST:
            bounds["$lt"] = stop
        return self.database.collection(EVENTS).find_raw_batches(
            {**self.query, self.key: bounds} if bounds else self.query,
            sort=[(self.key, 1)],
            batch_size=PAGE,
        )

    def _page(self, cursor: RawBatchCursor[Document], *, has_begun: bool) -> list[Any]:
        """Return what comes next; nothing at the end.

        Raises:
            _LostError: the cursor had begun, and cannot go on. Its server may have restarted, or
                forgotten it, or found that it used up, all pages together, the time given to it.
        """
        with self.database.translating(writing=False):
            try:
                batch: Any = next(cursor, b"")
            except (AutoReconnect, CursorNotFound, ExecutionTimeout) as error:
                if has_begun:
                    raise _LostError from error
                raise
            return bson.decode_all(batch)

    def _missing(self, expected: int, document: Document) -> CorruptStore:
        """Return the error that says that an append is missing before this one."""
        stream_id = stream_of(document) if self.query else None
        what = f"event {expected} of stream {stream_id}" if stream_id else f"position {expected}"
        return CorruptStore(
            f"{what} is missing from the database, though {document.get(self.key)} is there; "
            "restore a backup",
            stream_id,
            expected if stream_id else None,
        )


class _LostError(Exception):
    """A cursor cannot go on."""
