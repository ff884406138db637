"""Every query of the contracts is a range scan of an index: the databases' own plans say so."""

import re
import sqlite3
from contextlib import closing, contextmanager

import psycopg
import pytest
from sqlalchemy import event
from store_helpers import listed, made

from eskernel.contracts import Commit
from eskernel.errors import ConcurrencyConflict
from eskernel.values import Range, Snapshot
from eskernel_stores.sql import SqlStore
from eskernel_stores.sql.sqlite_writing import _HEADS

STREAM = ("t", "250")
SCANNED = {
    "a stream": "eskernel_streams",
    "a stream to its end": "eskernel_streams",
    "looking for an append id": "eskernel_streams",
    "the log": "log",
    "the log of some types": "log",
    "the log of some aggregate types": "log",
    "the last position": "log",
    "the newest snapshot": "snapshots",
    "deleting old snapshots": "snapshots",
}
"""Which index a call must use."""
_INDEXES = {
    "sqlite": {
        "eskernel_streams": "USING INDEX sqlite_autoindex_eskernel_events_1",
        "log": "USING INTEGER PRIMARY KEY",
        "snapshots": "USING (COVERING )?INDEX sqlite_autoindex_eskernel_snapshots_1",
    },
    "postgresql": {
        "eskernel_streams": "eskernel_streams",
        "log": "eskernel_events_pkey",
        "snapshots": "eskernel_snapshots_pkey",
    },
}


def call(store, name):
    """Do what a name of `SCANNED` says."""
    match name:
        case "a stream":
            assert len(store.fold(STREAM, listed, [], Range(5, 9))) == 4
        case "a stream to its end":
            assert len(store.fold(STREAM, listed, [])) == 40
        case "looking for an append id":
            with pytest.raises(ConcurrencyConflict):
                store.append(STREAM, made(STREAM, 3, "late"), expected_sequence=3, append_id=7)
        case "the log":
            assert store.fold_all(listed, [], Range(9000), limit=10)[1] == 9009
        case "the log of some types":
            assert store.fold_all(listed, [], Range(9000), types=["rare", "rarer"], limit=9)[0]
        case "the log of some aggregate types":
            assert not store.fold_all(listed, [], Range(9000, 9100), aggregate_types=["none"])[0]
        case "the last position":
            assert store.last_position() >= 20_000
        case "the newest snapshot":
            assert store.load_latest(STREAM).sequence == 40
        case "deleting old snapshots":
            for sequence in (40, 30):  # which is deleted again
                store.store(Snapshot(STREAM, sequence, 0), keep=2)


_SQL = {
    "sqlite": {
        "numbers": """(WITH RECURSIVE s(n) AS (VALUES (0) UNION ALL SELECT n + 1 FROM s
            WHERE n < 19999) SELECT n FROM s) AS numbers""",
        "nothing": "x''",
        "no_receipts": "x'90'",
    },
    "postgresql": {
        "numbers": "generate_series(0, 19999) AS numbers(n)",
        "nothing": "''::bytea",
        "no_receipts": "'\\x90'::bytea",
    },
}
_FILL = (
    """
    INSERT INTO eskernel_events
    SELECT n + 1, 't', CAST(n - n / 500 * 500 AS text), n / 500 + 1,
        CASE WHEN n / 7 * 7 = n THEN 'rare' ELSE 'happened' END, {nothing}, {nothing},
        NULL, 0, NULL, {nothing}
    FROM {numbers}
    """,
    """
    INSERT INTO eskernel_snapshots
    SELECT aggregate_type, aggregate_id, sequence, payload, '', {no_receipts}, 0
    FROM eskernel_events WHERE sequence IN (20, 30, 40)
    """,
    "ANALYZE",
)


def fill(store, kind):
    """Store 500 streams of 40 events and 3 snapshots each, and have the planner look at them."""
    with store._database.connect() as connection:
        for statement in _FILL:
            connection.exec_driver_sql(statement.format(**_SQL[kind]))
        if kind == "postgresql":
            connection.exec_driver_sql("UPDATE eskernel_log SET position = 20000")


@pytest.fixture(scope="module")
def sqlite_path(tmp_path_factory):
    return tmp_path_factory.mktemp("plans") / "events.db"


@pytest.fixture(scope="module")
def sqlite_store(sqlite_path):
    with closing(SqlStore(f"sqlite:///{sqlite_path}")) as store:
        fill(store, "sqlite")
        yield store


@pytest.fixture(scope="module")
def schema_url(postgresql):
    return postgresql.new_schema()


@pytest.fixture(scope="module")
def postgresql_store(schema_url):
    with closing(SqlStore(schema_url)) as store:
        fill(store, "postgresql")
        yield store


@contextmanager
def statements_of(store):
    """Collect what is sent to the database, with its parameters."""
    sent = []

    def note(_connection, _cursor, statement, parameters, *_):
        sent.append((statement, parameters))

    engine = store._database._backend.engine
    event.listen(engine, "before_cursor_execute", note)
    yield sent
    event.remove(engine, "before_cursor_execute", note)


def sqlite_plan(path, statement, parameters):
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
        return [detail for _, _, _, detail in found]


@pytest.mark.parametrize("name", SCANNED)
def test_sqlite_scans_a_range_of_an_index(sqlite_path, sqlite_store, name):
    with statements_of(sqlite_store) as sent:
        call(sqlite_store, name)
    plans = [
        sqlite_plan(sqlite_path, *one)
        for one in sent
        if re.match("SELECT|DELETE", one[0]) and "sqlite_" not in one[0]
    ]
    assert plans
    steps = [step for plan in plans for step in plan if "SUBQUERY" not in step]
    allowed = ("SCAN anon_1", "CO-ROUTINE anon_1")  # of the few rows of an inner, ranged query
    wanted = (
        _INDEXES["sqlite"][SCANNED[name]] if name != "the last position" else "eskernel_events$"
    )
    for step in steps:
        if step not in allowed and "LIST" not in step:
            assert step.startswith("SEARCH"), step
            assert re.search(wanted, step), step
    assert not any("TEMP B-TREE" in step for step in steps)


def test_sqlite_looks_for_the_heads_in_the_index(sqlite_path, sqlite_store):
    plan = sqlite_plan(sqlite_path, _HEADS, ('[["t", "250"]]',))
    of_events = [step for step in plan if "event" in step]
    assert len(of_events) == 2
    assert all(step.startswith("SEARCH") for step in of_events)
    assert not any("TEMP B-TREE" in step for step in plan)


def postgresql_plans(connection, statement, parameters):
    """Return the plan for these parameters, and the one for any."""
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", statement)))
    numbered = re.sub(r"%\((\w+)\)s", lambda found: f"${names.index(found[1]) + 1}", statement)
    connection.execute(f"PREPARE asked AS {numbered}".encode())
    values = psycopg.sql.SQL(", ").join(psycopg.sql.Literal(parameters[name]) for name in names)
    asked = psycopg.sql.SQL("EXPLAIN EXECUTE asked({})" if names else "EXPLAIN EXECUTE asked")
    for mode in ("force_custom_plan", "force_generic_plan"):
        connection.execute(f"SET plan_cache_mode = {mode}")
        found = connection.execute(asked.format(values) if names else asked).fetchall()
        yield "\n".join(line for (line,) in found)
    connection.execute("DEALLOCATE asked")


@pytest.mark.parametrize("name", SCANNED)
def test_postgresql_scans_a_range_of_an_index(schema_url, postgresql_store, name):
    with statements_of(postgresql_store) as sent:
        call(postgresql_store, name)
    asked = [
        one
        for one in sent
        if re.match("SELECT|DELETE", one[0]) and re.search("FROM eskernel_(events|snap)", one[0])
    ]
    assert asked
    with psycopg.connect(schema_url, autocommit=True) as connection:
        plans = [plan for one in asked for plan in postgresql_plans(connection, *one)]
    for plan in plans:
        assert "Seq Scan" not in plan
        assert "Sort" not in plan
        used = set(re.findall(r"using (\w+)|Index Scan on (\w+)", plan))
        assert {one or other for one, other in used} == {_INDEXES["postgresql"][SCANNED[name]]}
        if name != "the last position":
            assert "Index Cond" in plan


@pytest.mark.parametrize("commits", [1, 100])
def test_postgresql_looks_for_the_heads_in_the_index(postgresql, postgresql_store, commits):
    """The plans are those of the statements in the function, as they were executed."""
    if not postgresql.can_be_killed:
        pytest.skip("loads a module of the server, which is somebody else's")
    notices = []
    engine = postgresql_store._database._backend.engine

    def explain(connection, *_):
        for setting in (
            "LOAD 'auto_explain'",
            "SET auto_explain.log_min_duration = 0",
            "SET auto_explain.log_nested_statements = on",
            "SET client_min_messages = log",
            "SET plan_cache_mode = force_generic_plan",
        ):
            connection.execute(setting)
        connection.add_notice_handler(lambda notice: notices.append(notice.message_primary))

    streams = [("t", str(commits * 3 + number)) for number in range(commits)]
    event.listen(engine, "checkout", explain)
    postgresql_store.append_batch([Commit(one, made(one, 40, "x"), 40) for one in streams])
    event.remove(engine, "checkout", explain)
    engine.dispose()
    plans = [plan for plan in notices if "eskernel_events AS event" in plan or "INSERT" in plan]
    assert len(plans) == 2
    heads, insert = sorted(plans, key=lambda plan: "INSERT INTO eskernel_events" in plan)
    assert re.search(r"Index (Only )?Scan Backward using eskernel_streams", heads)
    assert "Index Cond" in heads
    for plan in (heads, insert):
        assert "Scan on eskernel_events" not in plan
