"""SQLite: how its connections are set up, and that readers and the writer wait for nobody."""

import threading
from contextlib import ExitStack

import pytest
from sql_rows import rows
from store_helpers import OTHER, STREAM, append, listed, log, logged, made, payloads
from support import run_threads

from eskernel.contracts import BatchingEventStore, SnapshotStore
from eskernel.values import Range, Snapshot
from eskernel_stores.sql import reading


def settings(connection):
    """Return the settings of a driver's connection."""
    names = ("journal_mode", "synchronous", "fullfsync", "checkpoint_fullfsync")
    return tuple(connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names)


def writer_of(store):
    return store._database._backend._writer.driver_connection


LEVELS = {"OFF": 0, "NORMAL": 1, "FULL": 2, "EXTRA": 3}


@pytest.mark.parametrize("asked", [None, *LEVELS])
def test_every_connection_has_the_log_and_syncs_as_asked(sqlite_url, open_sql, asked):
    store = open_sql(sqlite_url, **({} if asked is None else {"synchronous": asked}))
    wanted = ("wal", LEVELS[asked or "FULL"], 1, 1)
    append(store, STREAM, "x")
    first = writer_of(store)
    assert settings(first) == wanted
    with ExitStack() as lent:
        for _ in range(3):
            connection = lent.enter_context(store._database.connect())
            assert settings(connection.connection.driver_connection) == wanted
    with store._database.transaction() as connection:
        assert settings(connection.connection.driver_connection) == wanted
    store._database._backend._forget_writer()
    append(store, STREAM, "y")
    assert writer_of(store) is not first
    assert settings(writer_of(store)) == wanted


def test_it_is_a_store_of_batches_and_snapshots(sqlite_url, open_sql):
    store = open_sql(sqlite_url)
    assert isinstance(store, BatchingEventStore)
    assert isinstance(store, SnapshotStore)
    assert not getattr(store, "immediate", False)
    assert repr(store) == f"SqlStore({sqlite_url!r})"


def test_one_connection_writes_for_all_threads(sqlite_url, open_sql):
    store = open_sql(sqlite_url)
    append(store, OTHER, 0)
    only = writer_of(store)

    def write(index):
        for number in range(20):
            append(store, ("t", str(index)), number)
            assert writer_of(store) is only

    run_threads(*(lambda index=index: write(index) for index in range(4)))
    assert store.last_position() == 81


def test_a_reader_in_the_middle_waits_for_no_writer_and_lets_it_write(sqlite_url, open_sql):
    """Between pages the reader holds nothing, and it sees of the later append all or nothing."""
    store, writer = open_sql(sqlite_url), open_sql(sqlite_url)
    number = reading.PAGE + 500
    append(store, STREAM, *range(number))
    done = threading.Event()

    def write():
        append(writer, STREAM, "late", "later")
        done.set()

    def reader(events, event):
        if event.payload == 10:
            threading.Thread(target=write).start()
            assert done.wait(10), "the writer waits for the reader"
        return listed(events, event)

    found = [event.payload for event in store.fold(STREAM, reader, [])]
    assert found[:number] == [*range(number)]
    assert found[number:] in ([], ["late", "later"])
    assert payloads(store)[number:] == ["late", "later"]


def test_a_reader_waits_for_no_open_transaction(sqlite_url, open_sql):
    store, writer = open_sql(sqlite_url), open_sql(sqlite_url)
    append(store, STREAM, "x")
    with writer._database.transaction() as connection:
        connection.exec_driver_sql("UPDATE eskernel_events SET type = 'unseen'")
        assert [event.type for event in log(store)] == ["happened"]
        assert store.last_position() == 1
        assert store.load_latest(STREAM) is None
        connection.exec_driver_sql("UPDATE eskernel_events SET type = 'happened'")


def test_a_writer_waits_for_no_open_read(sqlite_url, open_sql):
    store = open_sql(sqlite_url)
    append(store, STREAM, "x")
    with store._database.connect() as connection:
        connection.exec_driver_sql("BEGIN")
        count = "SELECT count(*) FROM eskernel_events"
        assert connection.exec_driver_sql(count).scalar_one() == 1
        append(store, STREAM, "y")
        store.store(Snapshot(STREAM, 2, "state"))
        assert connection.exec_driver_sql(count).scalar_one() == 1
        connection.exec_driver_sql("ROLLBACK")
    assert logged(store) == ["x", "y"]


def test_more_threads_read_at_once_than_connections_are_kept(sqlite_url, open_sql):
    store = open_sql(sqlite_url, pool_size=1)
    append(store, STREAM, *range(10))
    gate = threading.Barrier(12)

    def read():
        with store._database.connect() as connection:
            gate.wait(10)
            assert len(reading.stream_page(connection, STREAM, 1, 100)) == 10

    run_threads(*[read] * 12)


def test_a_function_that_folds_may_use_the_store(sqlite_url, open_sql):
    store = open_sql(sqlite_url)
    append(store, STREAM, "x", "y")

    def copying(count, event):
        store.append(OTHER, made(OTHER, count, event.payload), expected_sequence=count)
        return count + len(store.fold(STREAM, listed, [], Range(1, 2)))

    assert store.fold(STREAM, copying, 0) == 2
    assert payloads(store, OTHER) == ["x", "y"]


def test_a_transaction_cut_short_is_undone_though_its_cursor_lives_on(sqlite_url, open_sql):
    """A traceback may hold the cursor; SQLite would wait for it before it closes anything."""
    store = open_sql(sqlite_url, timeout=0.1)
    append(store, STREAM, "x", "y")
    cursor = writer_of(store).cursor()
    cursor.execute("BEGIN IMMEDIATE")
    cursor.execute("UPDATE eskernel_events SET type = 'lost'")
    cursor.execute("SELECT * FROM eskernel_events")
    assert append(store, STREAM, "z") == 3
    assert {event.type for event in log(store)} == {"happened"}
    assert cursor.connection is not writer_of(store)


def test_a_function_that_fails_leaves_nothing_locked(sqlite_url, open_sql):
    store = open_sql(sqlite_url)
    append(store, STREAM, "x")
    with pytest.raises(ZeroDivisionError):
        store.fold(STREAM, lambda *_: 1 / 0, None)
    assert append(store, STREAM, "y") == 2
    assert rows(store, "SELECT count(*) FROM eskernel_events") == [(2,)]
