"""SqlStore under fire: connections ended, exceptions at any point of an append or a read."""

import random
import sqlite3
import threading
from contextlib import closing, contextmanager, suppress

import pytest
from interrupter import Interrupted, Interrupter, on_cpython_3_11
from sqlalchemy import event
from store_helpers import OTHER, STREAM, append, logged, made, payloads
from support import eventually, new_seed, run_threads

from eskernel.contracts import Commit
from eskernel.errors import StoreUnavailable

pytestmark = pytest.mark.stress


@contextmanager
def lost_connections_closed(store):
    """Close what SQLAlchemy's pool lost to exceptions that came while its queue was locked."""
    engine, opened = store._database._backend.engine, []
    engine.dispose()
    event.listen(engine, "connect", lambda connection, _: opened.append(connection), insert=True)
    yield
    for connection in opened:
        connection.close()


def read(store):
    """Return the payloads of the log, or None when the connection was just ended."""
    with suppress(StoreUnavailable):
        return logged(store)
    return None


def test_what_is_said_of_appends_whose_connections_are_ended_is_true(
    postgresql, postgresql_url, open_sql
):
    rng = random.Random(new_seed())
    store = open_sql(postgresql_url)
    over = threading.Event()
    said = {}

    def load(index):
        stream_id, sequence, number = ("t", str(index)), 0, 0
        while not over.is_set():
            number += 1
            key = f"{index} {number}"
            try:
                store.append(stream_id, made(stream_id, sequence, key), expected_sequence=sequence)
                said[key] = True
                sequence += 1
            except StoreUnavailable as error:
                said[key] = None if error.outcome_unknown else False
                sequence = eventually(lambda: at(stream_id)) - 1

    def at(stream_id):
        """Return where a stream is, plus 1."""
        with suppress(StoreUnavailable):
            return store.fold(stream_id, lambda n, _: n + 1, 1)
        return None

    def end():
        try:
            for _ in range(150):
                over.wait(rng.random() * 0.03)
                postgresql.terminate_connections()
        finally:
            over.set()

    run_threads(end, *(lambda i=index: load(i) for index in range(5)), timeout=60)
    stored = eventually(lambda: read(store))
    assert len(stored) == len(set(stored))
    assert {key for key, outcome in said.items() if outcome} <= set(stored)
    assert not {key for key, outcome in said.items() if outcome is False} & set(stored)
    assert set(stored) <= set(said)
    assert {*said.values()} >= {True, False}


@on_cpython_3_11
def test_an_exception_at_any_point_of_an_append_leaves_it_whole_or_nothing(sqlite_url, open_sql):
    """And nothing locked, though the traceback is kept, and the next append works."""
    store = open_sql(sqlite_url, timeout=0.5)
    append(store, STREAM, -1)
    length, n, met = 1, 0, set()
    with closing(sqlite3.connect(store._database._backend._path, timeout=0)) as other:
        while True:
            commits = [
                Commit(STREAM, made(STREAM, length, [n, 0], [n, 1]), length),
                Commit(("t", str(n)), made(("t", str(n)), 0, n), 0),
            ]
            interrupter, kept = Interrupter(n), None
            try:
                with interrupter:
                    store.append_batch(commits)
            except Interrupted as error:
                kept = error
            other.execute("BEGIN IMMEDIATE")
            other.execute("ROLLBACK")
            assert append(store, OTHER, n)
            found = payloads(store)
            assert found[length:] in ([], [[n, 0], [n, 1]]), interrupter.where
            assert payloads(store, ("t", str(n))) == ([n] if found[length:] else [])
            met.add(len(found) - length)
            length = len(found)
            if kept is None:
                break
            n += 1
    assert n > 100
    assert met == {0, 2}
    assert len(payloads(store, OTHER)) == n + 1


@on_cpython_3_11
def test_an_exception_when_the_writer_opens_leaves_a_store_that_works(sqlite_url, open_sql):
    store = open_sql(sqlite_url, timeout=0.5)
    for n in range(0, 2000, 7):
        store._database._backend._forget_writer()
        interrupter = Interrupter(n)
        with suppress(Interrupted), interrupter:
            append(store, STREAM, n)
        assert append(store, OTHER, n)
        if interrupter.where is None:
            break
    assert logged(store)


@on_cpython_3_11
def test_an_exception_at_any_point_of_a_read_leaves_a_store_that_works(sql_url, open_sql):
    store = open_sql(sql_url, pool_size=16, timeout=0.5)
    append(store, STREAM, *range(3))
    n = 0
    with lost_connections_closed(store):
        while True:
            interrupter = Interrupter(n)
            with suppress(Interrupted), interrupter:
                assert payloads(store) == [0, 1, 2]
            if interrupter.where is None:
                break
            n += 1
        assert payloads(store) == [0, 1, 2]
        assert append(store, STREAM, 3) == 4


@on_cpython_3_11
def test_an_exception_at_any_point_of_an_append_to_postgresql_leaves_it_whole_or_nothing(
    postgresql_url, open_sql
):
    store = open_sql(postgresql_url, pool_size=16, timeout=0.5)
    length, n = 0, 0
    with lost_connections_closed(store):
        while True:
            events = made(STREAM, length, [n, 0], [n, 1])
            interrupter = Interrupter(n)
            with suppress(Interrupted), interrupter:
                store.append(STREAM, events, expected_sequence=length)
            found = payloads(store)
            assert found[length:] in ([], [[n, 0], [n, 1]]), interrupter.where
            length = len(found)
            if interrupter.where is None:
                break
            n += 1
        assert n > 50
        assert append(store, OTHER, "x") == length + 1
