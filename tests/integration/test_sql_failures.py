"""PostgreSQL fails: what callers are told, and that a store works again by itself."""

import os
import resource
import threading
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace

import psycopg
import pytest
from cutting_proxy import CuttingProxy
from sql_dumps import schema_of
from sqlalchemy import make_url
from store_helpers import (
    OTHER,
    STREAM,
    append,
    every_call_unavailable,
    listed,
    log,
    logged,
    made,
    unavailable,
)
from support import eventually

from eskernel.contracts import Commit
from eskernel.errors import ConcurrencyConflict, StoreUnavailable
from eskernel.values import Range, Snapshot
from eskernel_stores.sql import SqlStore

APPEND, FIND = b"eskernel_append", b"append_id ="


@pytest.fixture
def store(postgresql_url, open_sql):
    store = open_sql(postgresql_url)
    append(store, OTHER, "before")
    return store


@pytest.fixture
def proxy(postgresql_url):
    proxy = CuttingProxy(make_url(postgresql_url).port)
    yield proxy
    proxy.close()


@pytest.fixture
def far_store(proxy, postgresql_url, open_sql):
    """A store that reaches the database through the proxy."""
    return open_sql(make_url(postgresql_url).set(port=proxy.port))


def with_setting(url, name, value):
    options = f"-csearch_path={schema_of(url)} -c{name}={value}"
    return make_url(url).update_query_dict({"options": options})


@contextmanager
def log_locked(url):
    """Hold the lock that appends take."""
    with psycopg.connect(url) as connection:
        connection.execute("SELECT * FROM eskernel_log FOR UPDATE")
        yield connection


def waiting(postgresql):
    """Return the process ids of the appends that wait."""
    found = postgresql.execute(
        "select pid from pg_stat_activity where wait_event_type = 'Lock'"
        " and query like '%eskernel_append%' and pid <> pg_backend_pid()"
    )
    return [pid for (pid,) in found]


def ended_connections(postgresql):
    """Have every connection ended, wait until they are, and return how many there were."""
    number = postgresql.terminate_connections()
    left = "select pid from pg_stat_activity where application_name = 'eskernel'"
    eventually(lambda: not postgresql.execute(left))
    return number


class background:
    """A call on a thread of its own."""

    def __init__(self, function, *arguments, **options):
        def run():
            try:
                self._outcome = function(*arguments, **options)
            except Exception as error:
                self._outcome = error

        self._thread = threading.Thread(target=run)
        self._thread.start()

    def outcome(self):
        """Return what the call returned or raised."""
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self._outcome


def append_under_way(store, postgresql, append_id=7):
    """Start an append that waits for the log's lock."""
    call = background(
        store.append, STREAM, made(STREAM, 0, "x"), expected_sequence=0, append_id=append_id
    )
    eventually(lambda: waiting(postgresql))
    return call


def test_connections_closed_while_idle_are_replaced_unnoticed(store, postgresql):
    with ExitStack() as lent:
        for _ in range(4):
            lent.enter_context(store._database.connect())
    assert ended_connections(postgresql) >= 4
    assert append(store, STREAM, "x") == 2
    ended_connections(postgresql)
    assert logged(store) == ["before", "x"]
    ended_connections(postgresql)
    store.store(Snapshot(STREAM, 1, "state"))
    ended_connections(postgresql)
    assert store.load_latest(STREAM).state == "state"


def test_a_server_that_restarts_is_met_again_without_a_failure(store, postgresql_to_kill):
    postgresql_to_kill.restart()
    assert append(store, STREAM, "x") == 2
    postgresql_to_kill.restart()
    assert logged(store) == ["before", "x"]


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_while_the_server_is_down_nothing_is_stored_and_that_is_known(
    store, postgresql_to_kill, end
):
    getattr(postgresql_to_kill, end)()
    for error in every_call_unavailable(store, 0):
        assert not error.outcome_unknown
        assert "PostgreSQL" in str(error)
    results = store.append_batch(
        [Commit(one, made(one, 0, "x"), 0) for one in (STREAM, ("t", "u"))]
    )
    assert [(type(one), one.outcome_unknown) for one in results] == [(StoreUnavailable, False)] * 2
    assert results[0] is not results[1]
    postgresql_to_kill.start()
    assert append(store, STREAM, "y") == 2
    assert logged(store) == ["before", "y"]


def test_an_append_whose_connection_is_ended_is_sent_once_more(store, postgresql, postgresql_url):
    with log_locked(postgresql_url) as lock:
        call = append_under_way(store, postgresql)
        (first,) = waiting(postgresql)
        postgresql.execute(f"select pg_terminate_backend({first})")
        eventually(lambda: waiting(postgresql) not in ([], [first]))
        lock.rollback()
        assert call.outcome() == 2
    assert logged(store) == ["before", "x"]


class Fatal(psycopg.errors.AdminShutdown):
    """What the server says before it ends a connection."""

    diag = SimpleNamespace(severity_nonlocalized="FATAL")


@pytest.mark.parametrize(
    ("error", "ends"),
    [
        (Fatal(), True),
        (psycopg.OperationalError("server closed the connection unexpectedly"), True),
        (psycopg.errors.QueryCanceled(), False),
        (psycopg.errors.UniqueViolation(), False),
        (psycopg.DataError("told by the driver"), False),
    ],
)
def test_a_connection_is_given_up_when_its_end_is_said_and_before_it_is_seen(store, error, ends):
    """Else the append would be said not to be stored."""
    context = SimpleNamespace(
        original_exception=error,
        dialect=store._database._backend.engine.dialect,
        is_disconnect=False,
    )
    context.dialect.dispatch.handle_error(context)
    assert context.is_disconnect == ends


def test_an_append_whose_connection_is_ended_twice_has_an_unknown_outcome(
    store, postgresql, postgresql_url
):
    with log_locked(postgresql_url) as lock:
        call = append_under_way(store, postgresql)
        (first,) = waiting(postgresql)
        postgresql.execute(f"select pg_terminate_backend({first})")
        eventually(lambda: waiting(postgresql) not in ([], [first]))
        (second,) = waiting(postgresql)
        postgresql.execute(f"select pg_terminate_backend({second})")
        error = call.outcome()
        lock.rollback()
    assert isinstance(error, StoreUnavailable)
    assert error.outcome_unknown
    assert "same command_id" in str(error)
    assert logged(store) == ["before"]


def test_an_append_met_by_the_end_of_the_server_has_an_unknown_outcome(
    store, postgresql_to_kill, postgresql_url
):
    lock = psycopg.connect(postgresql_url)
    with lock:
        lock.execute("SELECT * FROM eskernel_log FOR UPDATE")
        call = append_under_way(store, postgresql_to_kill)
        postgresql_to_kill.kill()
        error = call.outcome()
        assert isinstance(error, StoreUnavailable)
        assert error.outcome_unknown
        lock.close()
    postgresql_to_kill.start()
    again = {"expected_sequence": 0, "append_id": 7}
    assert store.append(STREAM, made(STREAM, 0, "x"), **again) == 2
    assert store.append(STREAM, made(STREAM, 0, "x"), **again) == 2
    assert logged(store) == ["before", "x"]


def test_an_append_whose_answer_is_lost_is_found_to_be_stored(far_store, proxy):
    proxy.rules = [(APPEND, True)]
    assert append(far_store, STREAM, "x", "y") == 2
    assert proxy.rules == []
    assert logged(far_store) == ["x", "y"]


def test_a_batch_whose_answer_is_lost_is_found_to_be_stored(far_store, proxy):
    append(far_store, OTHER, "before")
    proxy.rules = [(APPEND, True)]
    results = far_store.append_batch(
        [
            Commit(STREAM, made(STREAM, 0, "x"), 0),
            Commit(OTHER, made(OTHER, 0, "late"), 0),
            Commit(STREAM, made(STREAM, 1, "y"), 1),
            Commit(OTHER, made(OTHER, 1, "z"), 1),
        ]
    )
    assert [results[0], results[2]] == [2, 3]
    assert [type(results[n]) for n in (1, 3)] == [ConcurrencyConflict] * 2
    assert logged(far_store) == ["before", "x", "y"]


def test_an_append_that_is_lost_on_its_way_is_sent_once_more(far_store, proxy):
    proxy.rules = [(APPEND, False)]
    assert append(far_store, STREAM, "x") == 1
    assert proxy.rules == []
    assert logged(far_store) == ["x"]


@pytest.mark.parametrize("forwarded", [True, False])
def test_an_append_lost_twice_has_an_unknown_outcome_until_it_is_repeated(
    far_store, proxy, forwarded
):
    proxy.rules = [(APPEND, forwarded), (APPEND, False)]
    again = {"expected_sequence": 0, "append_id": 7}
    assert unavailable(far_store.append, STREAM, made(STREAM, 0, "x"), **again).outcome_unknown
    assert logged(far_store) == (["x"] if forwarded else [])
    assert far_store.append(STREAM, made(STREAM, 0, "x"), **again) == 1
    assert logged(far_store) == ["x"]


def test_an_append_that_cannot_be_looked_for_has_an_unknown_outcome(far_store, proxy):
    """It was stored, the answer was lost, and so is the question whether it is there."""
    proxy.rules = [(APPEND, True), (FIND, False)]
    results = far_store.append_batch(
        [
            Commit(STREAM, made(STREAM, 0, "x"), 0, 7),
            Commit(OTHER, made(OTHER, 3, "wrong"), 3, 8),
            Commit(("t", "bad"), made(("t", "bad"), 0, object()), 0),
        ]
    )
    assert proxy.rules == []
    assert [getattr(one, "outcome_unknown", None) for one in results] == [True, True, None]
    assert logged(far_store) == ["x"]
    assert far_store.append(STREAM, made(STREAM, 0, "x"), expected_sequence=0, append_id=7) == 1


def test_a_server_that_cuts_every_connection_is_unavailable_until_it_does_not(far_store, proxy):
    append(far_store, STREAM, "x")
    proxy.refusing = True
    proxy.rules = [(APPEND, False)]
    error = unavailable(far_store.append, STREAM, made(STREAM, 1, "y"), expected_sequence=1)
    assert error.outcome_unknown
    error = unavailable(far_store.append, STREAM, made(STREAM, 1, "y"), expected_sequence=1)
    assert not error.outcome_unknown
    proxy.refusing = False
    assert append(far_store, STREAM, "y") == 2


def test_a_fold_goes_on_after_the_server_restarted_in_the_middle(store, postgresql_to_kill):
    append(store, STREAM, *range(3000))

    def reading(events, event):
        if event.payload == 1000:
            postgresql_to_kill.restart()
        return [*events, event.payload]

    assert store.fold(STREAM, reading, []) == list(range(3000))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"database": "no_such_database"}, "no_such_database"),
        ({"username": "no_such_role"}, "no_such_role"),
        ({"port": 1}, "refused"),
        ({"host": "no-such-host.invalid"}, "no-such-host.invalid"),
    ],
)
def test_what_cannot_be_reached_is_said(postgresql_url, change, message):
    error = unavailable(SqlStore, make_url(postgresql_url).set(**change))
    assert message in str(error)
    assert not error.outcome_unknown


def test_a_wrong_password_is_said_and_not_shown(postgresql_to_kill):
    server = postgresql_to_kill
    rules = server._data / "pg_hba.conf"
    before = rules.read_text()
    server.execute("CREATE ROLE careful LOGIN PASSWORD 'right'")
    try:
        rules.write_text(f"host all careful 127.0.0.1/32 scram-sha-256\n{before}")
        server.execute("SELECT pg_reload_conf()")
        url = make_url(server.url()).set(username="careful", password="hunter2")
        error = eventually(lambda: "password" in str(e := unavailable(SqlStore, url)) and e)
        assert "hunter2" not in str(error)
    finally:
        rules.write_text(before)
        server.execute("DROP ROLE careful")
        server.execute("SELECT pg_reload_conf()")


def test_a_store_says_where_it_is_without_its_password(open_sql, postgresql_url):
    url = make_url(postgresql_url).set(password="hunter2")
    assert "hunter2" not in repr(open_sql(url))
    assert "127.0.0.1" in repr(open_sql(url))


def test_an_append_the_server_gives_up_is_known_not_to_be_stored(store, postgresql_url, open_sql):
    hasty = open_sql(with_setting(postgresql_url, "statement_timeout", 50))
    with log_locked(postgresql_url):
        error = unavailable(hasty.append, STREAM, made(STREAM, 0, "x"), expected_sequence=0)
    assert not error.outcome_unknown
    assert "statement timeout" in str(error)
    assert append(hasty, STREAM, "y") == 2
    assert logged(store) == ["before", "y"]


def test_a_database_that_may_only_be_read_is_read(store, postgresql_url, open_sql, postgresql):
    reader = open_sql(with_setting(postgresql_url, "default_transaction_read_only", "on"))
    error = unavailable(reader.append, STREAM, made(STREAM, 0, "x"), expected_sequence=0)
    assert not error.outcome_unknown
    assert "read-only" in str(error)
    assert not unavailable(reader.store, Snapshot(STREAM, 1, "state")).outcome_unknown
    assert logged(reader) == ["before"]
    empty = with_setting(postgresql.new_schema(), "default_transaction_read_only", "on")
    assert "read-only" in str(unavailable(SqlStore, empty))


def test_a_failing_statement_fails_only_what_it_was_for(store, postgresql_url):
    with psycopg.connect(postgresql_url) as other:
        other.execute("ALTER TABLE eskernel_events ADD CHECK (type <> 'bad')")
    bad = made(STREAM, 0, "x")[0]._replace(type="bad")
    error = unavailable(store.append, STREAM, [bad], expected_sequence=0)
    assert not error.outcome_unknown
    assert append(store, STREAM, "y") == 2


def test_tables_dropped_by_hand_are_missed_in_words(store, postgresql_url):
    with psycopg.connect(postgresql_url) as other:
        other.execute("DROP TABLE eskernel_events")
    for call in (lambda: logged(store), lambda: append(store, STREAM, 1)):
        assert "eskernel_events" in str(unavailable(call))


def test_who_waits_too_long_for_a_connection_is_told(postgresql_url, open_sql):
    store = open_sql(postgresql_url, pool_size=1, timeout=0.1)
    with store._database.connect(), store._database.connect():
        error = unavailable(store.append, STREAM, made(STREAM, 0, "x"), expected_sequence=0)
        assert not error.outcome_unknown
        assert "connection" in str(error)
    assert append(store, STREAM, "x") == 1


def test_a_process_with_thousands_of_open_files_is_served(postgresql_url, open_sql):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 1500:
        pytest.skip("may not open so many files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1500), hard))
    opened = [os.dup(2) for _ in range(1100)]
    try:
        store = open_sql(postgresql_url)
        assert append(store, STREAM, "x") == 1
        assert logged(store) == ["x"]
    finally:
        for number in opened:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_lost_connection_is_met_by_a_reader_too(far_store, proxy):
    append(far_store, STREAM, "x")
    proxy.rules = [(b"eskernel_events", False)]
    error = unavailable(log, far_store)
    assert not error.outcome_unknown
    assert far_store.fold_all(listed, [], Range(1))[1] == 1
