"""The tables of SqlStore: made once, upgraded in place, newer ones refused."""

import sqlite3
import uuid
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
import sql_dumps
from sql_rows import rows
from sqlalchemy import make_url
from store_helpers import log, race_processes, unavailable

from eskernel.errors import StoreUnavailable
from eskernel_stores.sql import SqlStore
from eskernel_stores.sql.schema import STEPS, prepare

NEWEST = len(STEPS)
VERSIONS = range(1, NEWEST + 1)


def load(url, version=NEWEST):
    """Make a database of a version kept in fixtures/sql."""
    kind = make_url(url).drivername
    dump = (sql_dumps.FOLDER / f"{kind}_v{version}.sql").read_text()
    if kind == "sqlite":
        sql_dumps.load_into_sqlite(dump, Path(make_url(url).database))
    else:
        sql_dumps.load_into_postgresql(dump, url)


def execute(url, *statements):
    """Run statements as another program would, and return the rows of the last."""
    parsed = make_url(url)
    if parsed.drivername == "sqlite":
        connecting = closing(sqlite3.connect(parsed.database, isolation_level=None))
    else:
        connecting = psycopg.connect(url, autocommit=True)
    with connecting as connection:
        for statement in statements:
            cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def described(url):
    """Return what the database says of its tables, indexes, constraints and functions."""
    if make_url(url).drivername == "sqlite":
        found = execute(url, "SELECT name, sql FROM sqlite_master ORDER BY name")
        return [(name, sql and " ".join(sql.split())) for name, sql in found]
    schema = sql_dumps.schema_of(url)
    of_schema = f"= '{schema}'"
    statements = (
        f"""SELECT table_name, ordinal_position, column_name, data_type, collation_name,
        is_nullable, column_default FROM information_schema.columns
        WHERE table_schema {of_schema}""",
        f"SELECT tablename, indexdef FROM pg_indexes WHERE schemaname {of_schema}",
        f"""SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace {of_schema}::regnamespace""",
        f"""SELECT proname, pg_get_functiondef(oid) FROM pg_proc
        WHERE pronamespace {of_schema}::regnamespace""",
    )
    found = [sorted(execute(url, statement)) for statement in statements]
    return [
        [tuple(str(value).replace(schema, "schema") for value in row) for row in kind]
        for kind in found
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_database_of_each_version_opens_and_reads_as_it_was_written(sql_url, open_sql, version):
    load(sql_url, version)
    store = open_sql(sql_url)
    for stream_id in (sql_dumps.STREAM, sql_dumps.OTHER):
        found = store.fold(stream_id, lambda events, event: [*events, event], [])
        assert [event._replace(position=None) for event in found] == sql_dumps.events(stream_id)
    assert [event.position for event in log(store)] == [1, 2, 3, 4, 5, 6]
    assert store.load_latest(sql_dumps.STREAM) == sql_dumps.SNAPSHOT
    events = sql_dumps.events(sql_dumps.STREAM)
    again = store.append(sql_dumps.STREAM, events, expected_sequence=0, append_id=2**100)
    assert again == 3
    assert execute(sql_url, "SELECT version FROM eskernel_schema") == [(NEWEST,)]
    kept = {slot: store.load_checkpoint(sql_dumps.NAME, slot) for slot in sql_dumps.CHECKPOINTS}
    assert kept == (sql_dumps.CHECKPOINTS if version >= 2 else dict.fromkeys(kept))
    epoch = store.acquire_lease(sql_dumps.NAME, "third", 1).epoch
    assert epoch == (3 if version >= 2 else 1)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_database_of_each_version_is_written_on(sql_url, open_sql, version):
    load(sql_url, version)
    store = open_sql(sql_url)
    event = sql_dumps.events(sql_dumps.STREAM)[0]._replace(sequence=4)
    assert store.append(sql_dumps.STREAM, [event], expected_sequence=3) == 7
    assert store.last_position() == 7


def test_new_tables_are_those_of_the_newest_fixture(sql_url, open_sql, request):
    """A change of the tables is a new version, with a step that leads there and a fixture."""
    open_sql(sql_url)
    new = described(sql_url)
    if make_url(sql_url).drivername == "sqlite":
        other = f"{sql_url}.loaded"
    else:
        other = request.getfixturevalue("postgresql").new_schema()
    load(other)
    assert new == described(other)


def test_an_old_database_upgraded_and_a_new_one_have_the_same_tables(sql_url, open_sql, request):
    load(sql_url, 1)
    open_sql(sql_url)
    if make_url(sql_url).drivername == "sqlite":
        other = f"{sql_url}.new"
    else:
        other = request.getfixturevalue("postgresql").new_schema()
    open_sql(other)
    assert described(sql_url) == described(other)


def test_opening_what_is_there_changes_nothing(sql_url, open_sql):
    open_sql(sql_url)
    before = described(sql_url)
    open_sql(sql_url)
    assert described(sql_url) == before


def test_a_newer_schema_is_refused_and_left_alone(sql_url):
    load(sql_url)
    newer = NEWEST + 1
    execute(sql_url, f"UPDATE eskernel_schema SET version = {newer}", "DROP TABLE eskernel_events")
    before = described(sql_url)
    error = unavailable(SqlStore, sql_url)
    assert f"version {newer}" in str(error)
    assert f"up to {NEWEST}" in str(error)
    assert described(sql_url) == before
    assert execute(sql_url, "SELECT version FROM eskernel_schema") == [(newer,)]


def test_a_newer_schema_is_refused_even_while_somebody_writes(sqlite_url):
    load(sqlite_url)
    execute(sqlite_url, "PRAGMA journal_mode = WAL", "UPDATE eskernel_schema SET version = 99")
    with closing(sqlite3.connect(make_url(sqlite_url).database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert "version 99" in str(unavailable(SqlStore, sqlite_url, timeout=0.1))


def add_column(connection, _backend):
    connection.exec_driver_sql("ALTER TABLE eskernel_snapshots ADD COLUMN added INTEGER")


def fail_half_way(connection, backend):
    add_column(connection, backend)
    connection.exec_driver_sql("UPDATE eskernel_events SET type = 'lost'")
    connection.exec_driver_sql("SELECT no_such_column FROM eskernel_events")


def upgrade(store, *more):
    prepare(store._database, store._database._backend, (*STEPS, *more))


def test_a_step_that_fails_half_way_leaves_the_old_version_whole(sql_url, open_sql):
    load(sql_url)
    store = open_sql(sql_url)
    before, events = described(sql_url), log(store)
    with pytest.raises(StoreUnavailable, match="no_such_column"):
        upgrade(store, fail_half_way)
    assert described(sql_url) == before
    assert rows(store, "SELECT version FROM eskernel_schema") == [(NEWEST,)]
    assert log(store) == events
    upgrade(store, add_column)
    assert rows(store, "SELECT added FROM eskernel_snapshots") == [(None,)]


def test_an_interrupted_upgrade_leaves_nothing(sql_url, open_sql):
    def interrupted(*_):
        raise KeyboardInterrupt

    store = open_sql(sql_url)
    before = described(sql_url)
    with pytest.raises(KeyboardInterrupt):
        upgrade(store, add_column, interrupted)
    assert described(sql_url) == before
    upgrade(store, add_column)


def test_eight_processes_create_the_tables_once(sql_url, open_sql):
    said = race_processes(
        8,
        f"""
        import time
        import eskernel_stores.sql.store as module
        from eskernel_stores.sql.schema import STEPS, prepare

        def create(connection, backend):
            time.sleep(0.2)  # so that the others come meanwhile
            STEPS[0](connection, backend)

        module.prepare = lambda database, backend: prepare(database, backend, (create, *STEPS[1:]))

        def work(index):
            with closing(open_store({sql_url!r})) as store:
                stream = ("t", f"of {{index}}")
                say(store.append(stream, made(stream, 0, index), expected_sequence=0))
        """,
    )
    assert sorted(map(int, said)) == list(range(1, 9))
    store = open_sql(sql_url)
    assert sorted(event.payload for event in log(store)) == list(range(8))
    assert rows(store, "SELECT version FROM eskernel_schema") == [(NEWEST,)]


def test_eight_processes_upgrade_once(sql_url, open_sql):
    load(sql_url)
    race_processes(
        8,
        f"""
        import time
        import eskernel_stores.sql.store as module
        from eskernel_stores.sql.schema import STEPS, prepare

        def step(connection, backend):
            time.sleep(0.2)  # so that the others come meanwhile
            connection.exec_driver_sql("ALTER TABLE eskernel_snapshots ADD COLUMN added INTEGER")
            connection.exec_driver_sql("UPDATE eskernel_events SET timestamp = timestamp + 1")

        module.prepare = lambda database, backend: prepare(database, backend, (*STEPS, step))

        def work(index):
            with closing(open_store({sql_url!r})) as store:
                assert store.last_position() == 6
        """,
    )
    assert execute(sql_url, "SELECT version FROM eskernel_schema") == [(NEWEST + 1,)]
    (first, *_) = execute(sql_url, "SELECT timestamp FROM eskernel_events ORDER BY position")
    assert first == (sql_dumps.events(sql_dumps.STREAM)[0].timestamp + 1,)
    assert "up to" in str(unavailable(SqlStore, sql_url))


def test_a_database_that_cannot_keep_every_character_is_refused(postgresql):
    name = f"latin_{uuid.uuid4().hex[:12]}"
    postgresql.execute(f"create database {name} encoding 'LATIN1' template template0 locale 'C'")
    try:
        with pytest.raises(StoreUnavailable, match=r"LATIN1.*UTF8"):
            SqlStore(make_url(postgresql.url()).set(database=name))
    finally:
        postgresql.execute(f"drop database {name} with (force)")


def test_eight_processes_upgrade_the_first_version_and_use_what_is_new(sql_url, open_sql):
    load(sql_url, 1)
    said = race_processes(
        8,
        f"""
        def work(index):
            with closing(open_patiently({sql_url!r})) as store:
                assert store.last_position() == 6
                store.save_checkpoints(f"name {{index}}", 0, {{"a": Checkpoint(6, "v", b"")}})
                say(store.acquire_lease("name", f"owner {{index}}", 0).epoch)
        """,
    )
    assert sorted(map(int, said)) == [*range(1, 9)]
    store = open_sql(sql_url)
    assert rows(store, "SELECT version FROM eskernel_schema") == [(NEWEST,)]
