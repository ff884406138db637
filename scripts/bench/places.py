"""Places: where the measures of durable stores keep their data, for as long as they run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from eskernel_stores.sql import SqlStore
from scripts.bench.apart import ROOT

_DISK = Path("/var/tmp")  # noqa: S108 - unlike /tmp it is never kept in memory


class Server(Protocol):
    """What the measures need of the tests' PostgreSQL server.

    Attributes:
        port: where it listens, on 127.0.0.1.
    """

    port: int

    def url(self) -> str:
        """Return the URL of its database."""
        ...

    def new_schema(self) -> str:
        """Return the URL of a new and empty schema of it."""
        ...

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """Run one statement and return its rows."""
        ...


@contextmanager
def folder() -> Iterator[Path]:
    """Lend a new folder on a disk."""
    with TemporaryDirectory(prefix="bench-", dir=_DISK if _DISK.is_dir() else None) as name:
        yield Path(name)


def sqlite_store(path: Path) -> SqlStore:
    """Open a store in a file."""
    return SqlStore(f"sqlite:///{path}", synchronous="FULL")


@contextmanager
def postgresql() -> Iterator[Server]:
    """Run the tests' server, which syncs to disk, in a folder of its own."""
    tests = str(ROOT / "tests")
    if tests not in sys.path:
        sys.path.append(tests)
    server = import_module("postgresql_server").PostgresServer()
    try:
        yield server.start()
    finally:
        server.close()
