"""Places: where the measures of durable stores keep their data, for as long as they run."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

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


class StoreServer(Protocol):
    """What the measures need of the tests' NATS cluster and of their MongoDB."""

    def new_url(self) -> str:
        """Return the URL of a new and empty store there."""
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
    with closing(_of_the_tests("postgresql_server").PostgresServer()) as server:
        yield server.start()


@contextmanager
def nats(sync_interval: str | None = "always") -> Iterator[StoreServer]:
    """Run the tests' cluster of three nodes.

    Args:
        sync_interval: how often a node syncs to disk, as its configuration says it: `always`,
            `2m`; None leaves it to the server.
    """
    cluster = _of_the_tests("nats_cluster").NatsCluster(sync_interval=sync_interval, linked=False)
    with closing(cluster):
        yield cluster.start()


@contextmanager
def mongo() -> Iterator[StoreServer]:
    """Run the tests' server that speaks MongoDB's protocol, and syncs to disk."""
    with closing(_of_the_tests("mongo_server").MongoServer()) as server:
        yield server.start()


@contextmanager
def local_ray() -> Iterator[None]:
    """Run a Ray on this machine, which only this process and its own can talk to."""
    ray = import_module("ray")
    # Ray remembers the first token that a process has, whatever becomes of the variable.
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    with folder() as place:
        ray.init(
            "local",  # a new one, whatever runs here
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            object_store_memory=80 * 2**20,
            _temp_dir=str(place),
        )
        try:
            yield
        finally:
            ray.shutdown()


def _of_the_tests(module: str) -> Any:
    """Return a module of the tests, whose servers the bench borrows."""
    tests = str(ROOT / "tests")
    if tests not in sys.path:
        sys.path.append(tests)
    return import_module(module)
