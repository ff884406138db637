"""Backends: every kind of store, each where new and empty ones can be opened."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import NamedTuple

from eskernel_stores import MemoryStore
from eskernel_stores.file import FileStore
from eskernel_stores.opening import open_store
from eskernel_stores.sql import SqlStore
from scripts.bench.places import folder, mongo, nats, postgresql, sqlite_store
from scripts.bench.streams import Batching

NewStore = Callable[[], Batching]
"""Opens a new and empty store, to be closed by whoever called."""


class Backend(NamedTuple):
    """A kind of store.

    Attributes:
        name: for people.
        place: where such stores can be opened, for as long as it is entered.
        log_length: events in a log that it reads in about a second.
        is_read: whether its reading is measured; if not, another backend reads in the same way.
    """

    name: str
    place: Callable[[], AbstractContextManager[NewStore]]
    log_length: int = 100_000
    is_read: bool = True


@contextmanager
def memory_stores() -> Iterator[NewStore]:
    """Lend stores in memory."""
    yield MemoryStore


@contextmanager
def file_stores() -> Iterator[NewStore]:
    """Lend stores in folders."""
    numbers = itertools.count()
    with folder() as place:
        yield lambda: FileStore(place / f"log-{next(numbers)}")


@contextmanager
def sqlite_stores() -> Iterator[NewStore]:
    """Lend stores in SQLite files."""
    numbers = itertools.count()
    with folder() as place:
        yield lambda: sqlite_store(place / f"{next(numbers)}.db")


@contextmanager
def postgresql_stores() -> Iterator[NewStore]:
    """Lend stores in schemas of one PostgreSQL."""
    with postgresql() as server:
        yield lambda: SqlStore(server.new_schema())


@contextmanager
def jetstream_stores(sync_interval: str | None = "always") -> Iterator[NewStore]:
    """Lend stores in streams of one cluster; see `places.nats`."""
    with nats(sync_interval) as servers:
        yield lambda: open_store(servers.new_url())


@contextmanager
def mongo_stores() -> Iterator[NewStore]:
    """Lend stores in databases of one server."""
    with mongo() as server:
        yield lambda: open_store(server.new_url())


BACKENDS = (
    Backend("`MemoryStore`", memory_stores),
    Backend("`FileStore`", file_stores),
    Backend("SQLite", sqlite_stores),
    Backend("PostgreSQL", postgresql_stores),
    Backend("JetStream, 3 nodes, `sync_interval: always`", jetstream_stores),
    Backend(
        "JetStream, 3 nodes, synced every 2 minutes, the default",
        partial(jetstream_stores, None),
        is_read=False,
    ),
    Backend("MongoDB's protocol, by SecantusDB", mongo_stores, log_length=5_000),
)
