"""PostgreSQL: positions become visible in their order, whoever writes and whatever happens."""

import signal
import threading
import time
from contextlib import closing, contextmanager

import psycopg
import pytest
import sql_dumps
from postgresql_server import PostgresServer
from sqlalchemy import make_url
from store_helpers import (
    OTHER,
    STREAM,
    append,
    listed,
    log,
    logged,
    made,
    payloads,
    race_processes,
    start_program,
)
from support import eventually, new_seed, run_threads

from eskernel.contracts import Commit
from eskernel.values import Range
from eskernel_stores.batching import Batch
from eskernel_stores.sql import SqlStore
from eskernel_stores.sql.events import to_columns
from eskernel_stores.sql.postgresql import _CALL
from eskernel_stores.sql.postgresql_packing import packed


class Held:
    """A writer for a batch that leaves its transaction open."""

    def __init__(self, connection):
        self._connection = connection

    def write(self, round):
        return round.written(*self._connection.execute(_CALL, packed(round)).fetchone())

    def find(self, commit):
        raise AssertionError("the commit fits")


@contextmanager
def held_back(store, url, stream_id, *payloads):
    """Yield a connection whose transaction has appended events and is not committed yet."""
    with psycopg.connect(url) as connection:
        commits = [Commit(stream_id, made(stream_id, 0, *payloads), 0)]
        Batch(commits, store._pack, store._unpack, to_columns).store(Held(connection))
        yield connection


def waiting(postgresql):
    """Return how many connections wait for a lock."""
    return len(
        postgresql.execute(
            "select pid from pg_stat_activity where wait_event_type = 'Lock'"
            " and query like '%eskernel_append%' and pid <> pg_backend_pid()"
        )
    )


def behind(store, number=1):
    """Start an append to another stream on a thread of its own."""
    thread = threading.Thread(target=lambda: append(store, ("t", f"behind {number}"), number))
    thread.start()
    return thread


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_nobody_sees_a_position_before_a_smaller_one_is_decided(
    postgresql, postgresql_url, open_sql, end
):
    store = open_sql(postgresql_url)
    append(store, OTHER, "before")
    with held_back(store, postgresql_url, STREAM, "first", "second") as held:
        threads = [behind(store, number) for number in (1, 2)]
        eventually(lambda: waiting(postgresql) == 2)
        assert logged(store) == ["before"]
        assert store.last_position() == 1
        assert payloads(store) == []
        getattr(held, end)()
    for thread in threads:
        thread.join(10)
    begun = ["before", "first", "second"] if end == "commit" else ["before"]
    assert logged(store)[: len(begun)] == begun
    assert sorted(logged(store)[len(begun) :]) == [1, 2]
    positions = [event.position for event in log(store)]
    assert positions == list(range(1, len(begun) + 3))


def test_a_reader_that_pages_on_meets_what_was_held_back(postgresql, postgresql_url, open_sql):
    store = open_sql(postgresql_url)
    with held_back(store, postgresql_url, STREAM, "held") as held:
        thread = behind(store)
        eventually(lambda: waiting(postgresql) == 1)
        found, reached = store.fold_all(listed, [])
        assert (found, reached) == ([], 0)
        held.commit()
    thread.join(10)
    found, reached = store.fold_all(listed, found, Range(reached + 1))
    assert [event.payload for event in found] == ["held", 1]
    assert reached == 2


def test_a_writer_killed_while_it_holds_the_log_lets_the_others_go_on(
    postgresql, postgresql_url, open_sql
):
    store = open_sql(postgresql_url)
    with held_back(store, postgresql_url, STREAM, "lost") as held:
        thread = behind(store)
        eventually(lambda: waiting(postgresql) == 1)
        postgresql.execute(f"select pg_terminate_backend({held.info.backend_pid})")
        thread.join(10)
        assert not thread.is_alive()
        held.close()
    assert logged(store) == [1]


def test_an_unrelated_transaction_stays_open_and_stalls_nobody(postgresql_url, open_sql):
    with psycopg.connect(postgresql_url) as other:
        other.execute("CREATE TABLE of_another_program (number bigint)")
        other.execute("INSERT INTO of_another_program VALUES (1)")
        assert other.execute("SELECT pg_current_xact_id_if_assigned()").fetchone() != (None,)
        store = open_sql(postgresql_url)
        for number in range(5):
            append(store, STREAM, number)
            assert logged(store) == list(range(number + 1))
        assert store.last_position() == 5
        other.rollback()


def test_a_reader_with_an_old_snapshot_stalls_nobody(postgresql_url, open_sql):
    store = open_sql(postgresql_url)
    append(store, STREAM, 0)
    with psycopg.connect(postgresql_url) as other:
        other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        count = "SELECT count(*) FROM eskernel_events"
        assert other.execute(count).fetchone() == (1,)
        append(store, STREAM, 1)
        assert other.execute(count).fetchone() == (1,)
        assert logged(store) == [0, 1]


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_a_database_that_isolates_more_by_default_fails_no_append(
    postgresql, postgresql_url, open_sql, level
):
    options = f"-csearch_path={sql_dumps.schema_of(postgresql_url)}"
    escaped = level.replace(" ", "\\ ")
    options = f"{options} -cdefault_transaction_isolation={escaped}"
    store = open_sql(make_url(postgresql_url).update_query_dict({"options": options}))
    with held_back(store, postgresql_url, STREAM, "held") as held:
        thread = behind(store)
        eventually(lambda: waiting(postgresql) == 1)
        held.commit()
    thread.join(10)
    assert logged(store) == ["held", 1]


WRITER = """
import random

def work(index):
    rng = random.Random(f"{seed} {{index}}")
    with closing(open_store({url!r})) as store:
        for number in range({appends}):
            stream = ("t", f"{{index}} {{number % 7}}")
            before = number // 7
            own = Commit(stream, made(stream, before, [index, number]), before)
            more = [
                Commit(one, made(one, 0, [index, number, part]), 0)
                for part in range(rng.choice((0, 0, 0, 2)))
                for one in [("t", f"{{index}} {{number}} {{part}}")]
            ]
            assert not [one for one in store.append_batch([own, *more]) if type(one) is not int]
            say(1 + len(more))
"""


def test_racing_processes_and_a_reader_that_meets_each_event_once_in_order(
    postgresql_url, open_sql
):
    seed = new_seed()
    store = open_sql(postgresql_url)
    over = threading.Event()
    met = []
    said = []

    def write():
        try:
            program = WRITER.format(seed=seed, url=postgresql_url, appends=200)
            said.extend(race_processes(4, program))
        finally:
            over.set()

    def read():
        reached, limit = 0, 1
        while True:
            last = over.is_set()
            before = len(met)
            _, reached = store.fold_all(listed, met, Range(reached + 1), limit=limit)
            if last and len(met) == before:
                break
            limit = limit * 7 % 23

    run_threads(write, read, timeout=60)
    positions = [event.position for event in met]
    assert positions == sorted(set(positions))
    assert len(met) == sum(map(int, said))
    assert [event.position for event in log(store)] == positions
    for index in range(4):
        own = [event.payload[1] for event in met if event.payload[0] == index]
        assert own == sorted(own), "a process's own appends are in its order"


def test_a_stopped_process_keeps_nobody_waiting(postgresql_url, open_sql):
    """Whatever it was doing: stopped at many moments, large appends half sent among them."""
    store = open_sql(postgresql_url)
    append(store, OTHER, 0)
    program = f"""
    with closing(open_store({postgresql_url!r})) as store:
        for number in range(10**6):
            append = store.append(
                STREAM, made(STREAM, number, bytes(500_000)), expected_sequence=number
            )
            print("stored", flush=True)
    """
    with start_program(program) as writer:
        try:
            assert writer.stdout.readline() == "stored\n"
            threading.Thread(target=writer.stdout.read, daemon=True).start()
            longest = 0.0
            for number in range(25):
                time.sleep(number % 5 * 0.0013)  # another moment each time
                writer.send_signal(signal.SIGSTOP)
                begun = time.monotonic()
                append(store, OTHER, number)
                assert log(store, store.last_position())
                longest = max(longest, time.monotonic() - begun)
                writer.send_signal(signal.SIGCONT)
            assert longest < 2
        finally:
            writer.kill()


def test_positions_go_on_in_a_cluster_restored_from_a_dump(postgresql_url, open_sql):
    store = open_sql(postgresql_url)
    for number in range(40):
        append(store, OTHER, number)
    sql_dumps.fill(store)
    before = log(store)
    schema = sql_dumps.schema_of(postgresql_url)
    dump = sql_dumps.dump_of_postgresql(postgresql_url, plain=True)
    other = PostgresServer()
    try:
        server = other.start().url()
        sql_dumps.run_tool("psql", "-qX", "--set=ON_ERROR_STOP=1", server, feed=dump)
        with closing(SqlStore(other.url(schema))) as restored:
            assert log(restored) == before
            assert restored.load_latest(STREAM) == sql_dumps.SNAPSHOT
            assert append(restored, STREAM, "after") == before[-1].position + 1
            found, reached = restored.fold_all(listed, [], Range(before[-1].position + 1))
            assert [event.payload for event in found] == ["after"]
            assert reached == before[-1].position + 1
    finally:
        other.close()
