"""The collections of a store, made on first use.

Versions that know nothing of leases that appends depend on take the markers in the log, see
`guards`, for events: `leases_taken`, of an aggregate type without a name. And where one of them
takes a lease, appends under smaller epochs are not refused. So no such version should be running.
"""

from __future__ import annotations

from typing import Final

from pymongo.errors import OperationFailure

from eskernel.errors import StoreUnavailable
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
        StoreUnavailable: the database cannot be reached, or refuses, or its collection of events
            is somebody else's.
    """
    with database.translating(writing=False):
        _create(database)
        _check(database)
        database.collection(EVENTS).create_index(STREAM, unique=True, name="stream")
        return database.most_bytes()


def _check(database: Database) -> None:
    """Raise StoreUnavailable if the collection has something else than appends."""
    found = database.collection(EVENTS).find_one()
    if found is not None and not {"append_id", "count", "events"} <= found.keys():
        raise StoreUnavailable(
            f"the collection {EVENTS} of the database {database.name} has documents that are no "
            "appends; name another database in the URL"
        )


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
