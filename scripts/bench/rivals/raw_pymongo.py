"""Documents into a collection by pymongo alone: ordered batches, acknowledged by a majority."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from bson import Binary, Int64
from pymongo import MongoClient
from pymongo.write_concern import WriteConcern

from eskernel.codec import Codec
from scripts.bench.accounts import LIVE, TYPE, account
from scripts.bench.streams import AMOUNT

_PAYLOAD = Binary(Codec().pack({"type": "deposited", "amount": AMOUNT}, "payload"))
_STREAM_AND_SEQUENCE = ["aggregate_type", "aggregate_id", "sequence"]


class RawDocuments:
    """A collection of appends of one deposit each, like a store's.

    Args:
        url: names an empty database.
        indexed: whether stream and sequence have a unique index, as they have in a store.
    """

    def __init__(self, url: str, *, indexed: bool = True) -> None:
        self._client: MongoClient[dict[str, Any]] = MongoClient(url)
        self._collection = self._client.get_default_database().create_collection(
            "raw",
            clusteredIndex={"key": {"_id": 1}, "unique": True},
            write_concern=WriteConcern("majority", j=True),
        )
        if indexed:
            self._collection.create_index(_STREAM_AND_SEQUENCE, unique=True)
        self._position = 0

    def insert(self, count: int, size: int) -> float:
        """Insert so many documents in batches of `size`.

        Returns:
            The seconds it took, without making the documents.
        """
        batches = [self._batch(min(size, count - done)) for done in range(0, count, size)]
        start = perf_counter()
        for batch in batches:
            self._collection.insert_many(batch)
        return perf_counter() - start

    def count(self) -> int:
        """Return how many documents there are."""
        return self._collection.count_documents({})

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _batch(self, size: int) -> list[dict[str, Any]]:
        positions = range(self._position + 1, self._position + size + 1)
        self._position += size
        return [_document(position) for position in positions]


class RawFind:
    """What a store has in its database, read without the store.

    Args:
        url: of the store.
    """

    def __init__(self, url: str) -> None:
        self._client: MongoClient[dict[str, Any]] = MongoClient(url)
        self._events = self._client.get_default_database()["events"]

    def find(self, aggregate_id: str) -> int:
        """Read the documents of one stream in order; return how many there are."""
        stream = {"aggregate_type": TYPE, "aggregate_id": aggregate_id}
        return len(self._events.find(stream).sort("sequence").to_list())

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _document(position: int) -> dict[str, Any]:
    """Return a store's document of the deposit at a position; the accounts take turns."""
    sequence, number = divmod(position, LIVE)
    event = {"type": "deposited", "payload": _PAYLOAD, "timestamp": 0}
    return {
        "_id": Int64(position),
        "aggregate_type": TYPE,
        "aggregate_id": account(number),
        "sequence": Int64(sequence + 1),
        "count": 1,
        "append_id": Binary(position.to_bytes(16)),
        "events": [event],
    }
