"""Fixtures of all tests."""

from __future__ import annotations

import os
import secrets
from contextlib import closing
from functools import partial

import pytest
from cutting_proxy import CuttingProxy
from support import opening

from eskernel_stores import open_store

# Of every Ray that a test starts: Ray remembers the first token that a process has, whatever
# becomes of the variable.
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


@pytest.fixture(scope="session")
def postgresql():
    """A PostgreSQL server for all tests, started by the first that asks; see postgresql_server."""
    from postgresql_server import (  # noqa: PLC0415 - only for tests that need it
        VARIABLE,
        PostgresDatabase,
        PostgresServer,
    )

    if url := os.environ.get(VARIABLE):
        database = PostgresDatabase(url)
        yield database
        database.drop_schemas()
        return
    server = PostgresServer()
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture
def postgresql_url(postgresql):
    """The URL of an empty schema for one test."""
    return postgresql.new_schema()


@pytest.fixture
def postgresql_to_kill(postgresql):
    """The server, running again after the test; skips where it is not ours to kill."""
    if not postgresql.can_be_killed:
        pytest.skip("kills the server, which is somebody else's")
    yield postgresql
    if not postgresql.pid:
        postgresql.start()


@pytest.fixture(scope="session")
def mongo():
    """A MongoDB for all tests, started by the first that asks; see mongo_server."""
    from mongo_server import (  # noqa: PLC0415 - only for tests that need it
        VARIABLE,
        MongoServer,
        MongoServers,
    )

    if url := os.environ.get(VARIABLE):
        servers = MongoServers(url)
        yield servers
        servers.drop()
        return
    with MongoServer() as server:
        yield server


@pytest.fixture
def mongo_url(mongo):
    """The URL of a MongoDB database for one test, which does not exist yet."""
    return mongo.new_url()


@pytest.fixture
def mongo_database(mongo, mongo_url):
    """The database of `mongo_url`, as anybody with a client sees it."""
    with mongo.client() as client:
        yield client[mongo_url.rpartition("/")[2]]


@pytest.fixture
def mongo_to_kill(mongo):
    """The MongoDB server, running again after the test; skips where it is not ours to kill."""
    if not mongo.can_be_killed:
        pytest.skip("kills the server, which is somebody else's")
    yield mongo
    if not mongo.pid:
        mongo.start()


@pytest.fixture(scope="session")
def nats():
    """A NATS cluster for all tests, started by the first that asks; see nats_cluster."""
    from nats_cluster import NatsCluster  # noqa: PLC0415 - only for tests that need it
    from nats_servers import VARIABLE, NatsServers  # noqa: PLC0415

    if url := os.environ.get(VARIABLE):
        servers = NatsServers(url)
        yield servers
        servers.drop()
        return
    cluster = NatsCluster()
    try:
        yield cluster.start()
    finally:
        cluster.close()


@pytest.fixture
def nats_url(nats):
    """The URL of a JetStreamStore for one test, which does not exist yet."""
    url = nats.new_url()
    yield url
    nats.drop(url)


@pytest.fixture
def nats_to_kill(nats):
    """The cluster, healthy again after the test; skips where it is not ours to kill."""
    if not nats.can_be_killed:
        pytest.skip("kills servers, which are somebody else's")
    yield nats
    nats.heal_all()


@pytest.fixture
def sqlite_url(tmp_path):
    """The URL of a database file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'events.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def sql_url(request):
    """The URL of an empty SQLite or PostgreSQL database."""
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
def file_url(tmp_path):
    """The URL of a folder that does not exist yet."""
    return f"file://{tmp_path / 'events'}"


@pytest.fixture
def backend_url(backend, request):
    """The URL of an empty store of the test's `backend`, of those in backends.DURABLE."""
    return request.getfixturevalue("nats_url" if backend == "jetstream" else f"{backend}_url")


@pytest.fixture
def open_url():
    """Opens stores by their URLs, which are closed after the test."""
    with opening(open_store) as open_url:
        yield open_url


@pytest.fixture
def open_sql():
    """Opens SqlStores, which are closed after the test."""
    from eskernel_stores.sql import SqlStore  # noqa: PLC0415 - only for tests that need it

    with opening(SqlStore) as open_sql:
        yield open_sql


@pytest.fixture
def open_mongo():
    """Opens MongoStores, which are closed after the test."""
    from eskernel_stores.mongo import MongoStore  # noqa: PLC0415 - only for tests that need it

    with opening(MongoStore) as open_mongo:
        yield open_mongo


@pytest.fixture
def mongo_proxy(mongo_to_kill):
    """A proxy on the way to the MongoDB server, which can cut connections."""
    with closing(CuttingProxy(mongo_to_kill.port)) as proxy:
        yield proxy


@pytest.fixture
def open_far_mongo(mongo_proxy, mongo_url):
    """Opens MongoStores that reach the test's database through the proxy, and in no other way."""
    from eskernel_stores.mongo import MongoStore  # noqa: PLC0415 - only for tests that need it

    name = mongo_url.rpartition("/")[2]
    far_url = f"mongodb://127.0.0.1:{mongo_proxy.port}/{name}?directConnection=true"
    with opening(partial(MongoStore, far_url)) as open_far_mongo:
        yield open_far_mongo
