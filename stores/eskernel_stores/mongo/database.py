"""Database: a client of a replica set, its collections, and what its errors mean."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

import pymongo
from bson.errors import InvalidBSON
from pymongo import MongoClient, ReadPreference, _csot
from pymongo.collection import Collection
from pymongo.errors import ConfigurationError, InvalidURI, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from eskernel.errors import StoreUnavailable
from eskernel_stores.mongo.failures import CLOSED, SentWrites, explained
from eskernel_stores.urls import shown

Document: TypeAlias = dict[str, Any]
Documents: TypeAlias = Collection[Document]
Pipeline: TypeAlias = list[Document]

NOW: Final = {"$divide": [{"$toDouble": "$$NOW"}, 1000]}
"""The server's time in Unix seconds, as an expression of a pipeline."""

DATABASE: Final = "eskernel"
"""The database of a URL that names none."""

_SCHEMES: Final = ("mongodb://", "mongodb+srv://")
_WRITE: Final = WriteConcern(w="majority", j=True)
_READ: Final = ReadConcern("majority")


class Database:
    """A database of a MongoDB replica set, safe to use from many threads.

    Its collections acknowledge a write when it is in the journals of a majority, and read from the
    primary what a majority has. So what was read or acknowledged is never rolled back.

    Args:
        url: `mongodb://…` or `mongodb+srv://…`; the path names the database.
        timeout: seconds that a call waits for servers.

    Attributes:
        name: the database's.

    Raises:
        ValueError: the URL cannot be understood.
        StoreUnavailable: the servers that a `mongodb+srv:` URL stands for cannot be looked up.
    """

    def __init__(self, url: str, timeout: float) -> None:
        self._sent = SentWrites()
        self._timeout = timeout
        self._client = self._connected(url)
        self._database = self._client.get_default_database(DATABASE)
        self.name = self._database.name
        self._pid = os.getpid()
        self._closed = False

    def _connected(self, url: str) -> MongoClient[Document]:
        if not isinstance(url, str) or not url.startswith(_SCHEMES):
            raise ValueError(f"{shown(url)} is no URL of MongoDB; write mongodb://host/database")
        milliseconds = max(round(1000 * self._timeout), 1)
        try:
            if "." in urlsplit(url).path:
                raise ValueError("a database's name has no dot")
            return MongoClient(
                url,
                appname="eskernel",
                event_listeners=[self._sent],
                retryWrites=True,
                serverSelectionTimeoutMS=milliseconds,
                connectTimeoutMS=milliseconds,
            )
        except (InvalidURI, ValueError, TypeError) as error:
            raise ValueError(f"{shown(url)} is no URL of MongoDB: {error}") from None
        except ConfigurationError as error:
            if url.startswith("mongodb+srv"):
                raise StoreUnavailable(f"{shown(url)} leads to no servers: {error}") from error
            raise ValueError(f"{shown(url)} cannot be used: {error}") from None

    def most_bytes(self) -> int:
        """Return the bytes of the largest document that the servers take.

        Raises:
            PyMongoError: they cannot be reached; see `translating`.
        """
        return int(self._client.admin.command("hello")["maxBsonObjectSize"])

    def collection(self, name: str) -> Documents:
        """Return a collection whose writes are durable and whose reads cannot be rolled back."""
        return self._database.get_collection(
            name,
            read_preference=ReadPreference.PRIMARY,
            write_concern=_WRITE,
            read_concern=_READ,
        )

    def create(self, name: str, **options: Any) -> None:
        """Create a collection; raises OperationFailure if there is one, see `translating`."""
        self._database.create_collection(name, check_exists=False, **options)

    @contextmanager
    def translating(self, *, writing: bool) -> Iterator[None]:
        """Turn what the driver raises within into a store's errors, and bound the time it takes.

        Args:
            writing: whether a write within matters, so that a failure may leave its outcome
                unknown.

        Raises:
            StoreUnavailable: the servers cannot be reached in time, or refuse; or the store is
                closed, or its parent process's.
            CorruptStore: what they returned cannot be read.
            NotStorable: a document is larger than they take.
        """
        self.check_open()
        self._sent.reset()
        # An exception that interrupts a thread within the driver can leave a deadline there, which
        # would bound whatever that thread asks for from then on.
        _csot.DEADLINE.set(math.inf)
        try:
            with pymongo.timeout(self._timeout):
                yield
        except (PyMongoError, InvalidBSON) as error:
            sent = self._sent.count if writing else 0
            raise explained(error, sent, closed=self._closed) from error

    def check_open(self) -> None:
        """Raise StoreUnavailable if the store is closed, or was opened by another process."""
        if self._closed:
            raise StoreUnavailable(CLOSED)
        if not self.is_own:
            raise StoreUnavailable(
                "this store was opened by the process that forked this one, and connections "
                "cannot be shared; open a store of its own here"
            )

    @property
    def is_own(self) -> bool:
        """Whether this process has made it; a forked child's threads and connections are gone."""
        return os.getpid() == self._pid

    def close(self) -> None:
        """Close all connections; in a forked child do nothing, for they are the parent's."""
        self._closed = True
        if self.is_own:
            with suppress(PyMongoError):  # of cursors that it tells the servers to forget
                self._client.close()
