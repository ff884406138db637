"""Values too large for the document they belong to, in pieces that are documents of their own.

What points at them, and when they are deleted: see `documents`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple, Self
from uuid import uuid4

from bson import Binary
from pymongo.errors import DuplicateKeyError

from eskernel_stores.mongo.database import Database, Documents

PIECE: Final = 4 * 1024 * 1024
"""Bytes of a piece; a server takes documents of up to 16 MB."""


class Large(NamedTuple):
    """Where a large value is.

    Attributes:
        value: its id, fresh for every writing.
        pieces: how many pieces it has.
        sizes: the bytes of each of its parts.
    """

    value: str
    pieces: int
    sizes: tuple[int, ...]

    @classmethod
    def new(cls, parts: Sequence[bytes]) -> Self:
        """Return a place for a value of these parts, to which nothing was written yet."""
        sizes = tuple(map(len, parts))
        return cls(uuid4().hex, -(-sum(sizes) // PIECE), sizes)

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Self:
        """Return the place that an entry tells."""
        return cls(stored["value"], stored["pieces"], tuple(stored["sizes"]))

    def stored(self) -> dict[str, Any]:
        """Return what an entry tells of it."""
        return {"value": self.value, "pieces": self.pieces, "sizes": list(self.sizes)}


class LargeValues:
    """The large values of a database.

    Args:
        database: keeps the pieces in its collection `chunks`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, large: Large, parts: Sequence[bytes]) -> None:
        """Store a value, in pieces.

        Raises:
            StoreUnavailable: the servers cannot be reached; some pieces may be stored.
        """
        data = memoryview(b"".join(parts))
        for number, name in enumerate(_names(large.value, large.pieces)):
            piece = bytes(data[number * PIECE : (number + 1) * PIECE])
            with (
                self._database.translating(writing=False),  # nothing points at it
                suppress(DuplicateKeyError),  # sent twice by the driver; nobody else has this id
            ):
                self._chunks().insert_one({"_id": name, "data": Binary(piece)})

    def read(self, large: Large) -> tuple[bytes, ...] | None:
        """Return the parts of a value; None if a piece is missing, or some bytes of one.

        Raises:
            StoreUnavailable: the servers cannot be reached.
        """
        pieces = []
        for name in _names(large.value, large.pieces):
            with self._database.translating(writing=False):
                found = self._chunks().find_one({"_id": name})
            if found is None:
                return None
            pieces.append(found["data"])
        data = b"".join(pieces)
        return _cut(data, large.sizes) if len(data) == sum(large.sizes) else None

    def delete(self, values: Iterable[tuple[str, int]]) -> None:
        """Delete values.

        Args:
            values: the id of each, and how many pieces it has.

        Raises:
            StoreUnavailable: the servers cannot be reached; some pieces may be left.
        """
        for value, pieces in values:
            for name in _names(value, pieces):
                with self._database.translating(writing=False):
                    self._chunks().delete_one({"_id": name})

    def _chunks(self) -> Documents:
        return self._database.collection("chunks")


def _names(value: str, pieces: int) -> list[str]:
    return [f"{value}/{number}" for number in range(pieces)]


def _cut(data: bytes, sizes: Iterable[int]) -> tuple[bytes, ...]:
    parts, start = [], 0
    for size in sizes:
        parts.append(data[start : start + size])
        start += size
    return tuple(parts)
