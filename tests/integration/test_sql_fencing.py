"""SqlStore: leases that change hands while others append, and what that costs."""

import threading
from contextlib import contextmanager
from functools import partial

import psycopg
import pytest
import sql_dumps
from sqlalchemy import event
from store_helpers import OTHER, STREAM, append, made, payloads
from support import eventually
from test_sql_schema import load

from eskernel.contracts import Commit, Fence
from eskernel.errors import StaleEpoch
from eskernel.testing.conformance import fencing_races
from eskernel.values import Checkpoint
from eskernel_stores.batching import Batch
from eskernel_stores.sql.events import to_columns
from eskernel_stores.sql.postgresql import _CALL, _CALL_FENCED, PostgresqlBackend, _BrokeOff
from eskernel_stores.sql.postgresql_packing import packed, packed_fences

NAME = "shard/1"
NAMES = [f"shard/{number}" for number in range(256)]


def commit(stream_id, expected, *payloads, append_id=None):
    return Commit(stream_id, made(stream_id, expected, *payloads), expected, append_id)


def take(store, owner, seconds=0.0):
    return store.acquire_lease(NAME, owner, seconds).epoch


class Apart:
    """A store whose leases are taken through another connection to the same database."""

    def __init__(self, store, beside):
        self._store = store
        self.acquire_leases = beside.acquire_leases
        self.release_leases = beside.release_leases

    def __getattr__(self, name):
        return getattr(self._store, name)


@pytest.mark.parametrize("check", fencing_races.CHECKS)
def test_stores_of_one_database_fence_each_other(check, sql_url, open_sql):
    check(Apart(open_sql(sql_url), open_sql(sql_url)))


class Held:
    """A writer for a batch that leaves its transaction open."""

    def __init__(self, connection):
        self._connection = connection

    def write(self, round):
        arguments = (packed_fences(round), *packed(round))
        before, heads, newest = self._connection.execute(_CALL_FENCED, arguments).fetchone()
        assert newest == [*round.fences.values()]
        return round.written(before, heads)


@contextmanager
def held_back(store, url, fence, *commits):
    """Yield a connection whose transaction has appended and is not committed yet."""
    with psycopg.connect(url) as connection:
        fences = [fence] * len(commits)
        batch = Batch(commits, store._pack, store._unpack, to_columns, fences=fences)
        assert all(isinstance(outcome, int) for outcome in batch.store(Held(connection)))
        yield connection


def waiting(postgresql, statement):
    """Return how many connections wait for a lock with a statement."""
    return len(
        postgresql.execute(
            "select pid from pg_stat_activity where wait_event_type = 'Lock'"
            f" and query like '%{statement}%' and pid <> pg_backend_pid()"
        )
    )


def in_background(function):
    """Run a function on a thread of its own; return the thread, and the list for its result."""
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    return thread, found


def test_whoever_takes_a_lease_waits_for_the_append_under_way(postgresql, postgresql_url, open_sql):
    store = open_sql(postgresql_url)
    fence = Fence(NAME, take(store, "first"))
    with held_back(store, postgresql_url, fence, commit(STREAM, 0, "under way")) as held:
        thread, found = in_background(lambda: (take(store, "second"), payloads(store)))
        eventually(lambda: waiting(postgresql, "eskernel_acquire_leases") == 1)
        held.commit()
    thread.join(10)
    assert found == [(fence.epoch + 1, ["under way"])]


def test_an_older_eskernel_that_takes_a_lease_waits_too(postgresql, postgresql_url, open_sql):
    """It updates the row by itself."""
    store = open_sql(postgresql_url)
    fence = Fence(NAME, take(store, "first"))
    update = "UPDATE eskernel_leases SET owner = 'old', epoch = epoch + 1, expires = 0"
    with held_back(store, postgresql_url, fence, commit(STREAM, 0, "under way")) as held:
        thread, found = in_background(lambda: postgresql_run(postgresql_url, update))
        eventually(lambda: waiting(postgresql, "UPDATE eskernel_leases") == 1)
        held.commit()
    thread.join(10)
    assert found == [1]
    (refused,) = store.append_fenced([commit(STREAM, 1, "late")], [fence])
    assert isinstance(refused, StaleEpoch)


def postgresql_run(url, statement):
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(statement).rowcount


def test_an_append_that_waited_for_the_lease_to_change_hands_is_refused(
    postgresql, postgresql_url, open_sql
):
    store = open_sql(postgresql_url)
    fence = Fence(NAME, take(store, "first"))
    commits = [commit(STREAM, 0, "late"), commit(OTHER, 0, "not fenced")]
    with psycopg.connect(postgresql_url) as other:
        other.execute("SELECT eskernel_acquire_leases(ARRAY[%s], 'second', 5)", (NAME,))
        call = partial(store.append_fenced, commits, [fence, None])
        thread, found = in_background(call)
        eventually(lambda: waiting(postgresql, "eskernel_append_fenced") == 1)
        other.commit()
    thread.join(10)
    ((refused, position),) = found
    assert (refused.epoch, refused.newest, position) == (1, 2, 1)
    assert (payloads(store), payloads(store, OTHER)) == ([], ["not fenced"])


def test_renewals_releases_and_saves_do_not_wait_for_appends(postgresql_url, open_sql):
    store = open_sql(postgresql_url, timeout=0.5)
    fence = Fence(NAME, take(store, "first"))
    with held_back(store, postgresql_url, fence, commit(STREAM, 0, "x")) as held:
        assert take(store, "first", 60) == fence.epoch
        store.save_checkpoints(NAME, fence.epoch + 5, {"a": Checkpoint(1, "v", b"")})
        store.release_leases([NAME, *NAMES], "first")
        held.commit()
    (refused,) = store.append_fenced([commit(STREAM, 1, "late")], [fence])
    assert refused.newest == fence.epoch + 5
    assert take(store, "second") == fence.epoch + 6


def test_a_long_transaction_that_saves_checkpoints_keeps_no_append_waiting(
    postgresql_url, open_sql
):
    store = open_sql(postgresql_url, timeout=0.5)
    fence = Fence(NAME, take(store, "first"))
    with store.table_transaction(5) as lent:
        lent.save_checkpoints("balances", 3, {"a": Checkpoint(1, "v", b"")})
        lent.save_checkpoints(NAME, fence.epoch, {"a": Checkpoint(1, "v", b"")})
        assert store.append_fenced([commit(STREAM, 0, "x")], [fence]) == [1]


@pytest.mark.parametrize("is_taken_over", [False, True])
def test_an_append_whose_answer_was_lost_is_a_success_whoever_has_the_lease_now(
    postgresql_url, open_sql, monkeypatch, is_taken_over
):
    store = open_sql(postgresql_url)
    fence = Fence(NAME, take(store, "first"))
    append(store, OTHER, "before")
    calls = []

    def call(backend, round):
        calls.append(round)
        written = asked(backend, round)
        if len(calls) == 1:
            if is_taken_over:
                take(store, "second")
            raise _BrokeOff
        return written

    asked = PostgresqlBackend._call
    monkeypatch.setattr(PostgresqlBackend, "_call", call)
    chain = [commit(STREAM, 0, "a", "b"), commit(STREAM, 2, "c"), commit(OTHER, 0, "late")]
    *results, refused = store.append_fenced(chain, [fence] * 3)
    assert results == [3, 4]
    assert isinstance(refused, StaleEpoch) == is_taken_over
    assert payloads(store) == ["a", "b", "c"]


@contextmanager
def statements_of(store):
    """Yield a list that grows by each statement a store sends, but for those of its writer."""
    sent = []
    engine = store._database._backend.engine

    def note(_connection, _cursor, statement, *_):
        sent.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield sent
    event.remove(engine, "before_cursor_execute", note)


def test_leases_of_many_names_take_a_few_statements(sql_url, open_sql):
    store = open_sql(sql_url)
    most = 4 if sql_url.startswith("sqlite") else 1
    for owner, seconds in (("first", 0), ("first", 0), ("second", 0)):
        with statements_of(store) as sent:
            store.acquire_leases(NAMES, owner, seconds)
        assert len(sent) <= most
    with statements_of(store) as sent:
        store.release_leases(NAMES, "second")
    assert len(sent) <= 4


@pytest.mark.parametrize("version", [1, 2])
def test_a_database_of_an_older_version_fences_once_it_is_opened(sql_url, open_sql, version):
    load(sql_url, version)
    store = open_sql(sql_url)
    old, new = take(store, "first"), take(store, "second")
    commits = [commit(STREAM, 3, old), commit(sql_dumps.OTHER, 3, new)]
    refused, position = store.append_fenced(commits, [Fence(NAME, old), Fence(NAME, new)])
    assert (refused.newest, position) == (new, 7)
    epoch = store.acquire_lease(sql_dumps.NAME, "third", 5).epoch
    (refused,) = store.append_fenced([commit(STREAM, 3, "x")], [Fence(sql_dumps.NAME, epoch - 1)])
    assert isinstance(refused, StaleEpoch)


def test_processes_that_opened_it_before_the_upgrade_append_on(postgresql_url, open_sql):
    """They call the function of their version, which stays."""
    load(postgresql_url, 2)
    store = open_sql(postgresql_url)
    take(store, "first")
    with psycopg.connect(postgresql_url, autocommit=True) as older:

        class Older:
            def write(self, round):
                return round.written(*older.execute(_CALL, packed(round)).fetchone())

        batch = Batch([commit(OTHER, 0, "old")], store._pack, store._unpack, to_columns)
        assert batch.store(Older()) == [7]
    assert store.append_fenced([commit(OTHER, 1, "new")], [Fence(NAME, 1)]) == [8]
    assert payloads(store, OTHER) == ["old", "new"]
