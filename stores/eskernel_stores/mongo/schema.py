"""The collections of a store, made on first use."""

from __future__ import annotations

from typing import Final

from pymongo.errors import OperationFailure

from eskernel_stores.mongo.database import Database

EVENTS: Final = "events"
"""One document for each append; see `documents`."""

STREAM: Final = [("aggregate_type", 1), ("aggregate_id", 1), ("sequence", 1)]
"""The unique index of `EVENTS`: at each sequence of a stream one append can begin."""

_EXISTS: Final = 48  # what a server calls a collection that there is already


def prepare(database: Database) -> int:
    """Make the collection of events and its index, unless they exist.

    Returns:
        The bytes of the largest document that the servers take.

    Raises:
        StoreUnavailable: the database cannot be reached, or refuses.
    """
    with database.translating(writing=False):
        _create(database)
        database.collection(EVENTS).create_index(STREAM, unique=True, name="stream")
        return database.most_bytes()


def _create(database: Database) -> None:
    """Create it with its documents in the order of positions, where servers can."""
    try:
        database.create(EVENTS, clusteredIndex={"key": {"_id": 1}, "unique": True})
    except OperationFailure as error:
        if error.code != _EXISTS:
            _create_plain(database)


def _create_plain(database: Database) -> None:
    try:
        database.create(EVENTS)
    except OperationFailure as error:
        if error.code != _EXISTS:
            raise
