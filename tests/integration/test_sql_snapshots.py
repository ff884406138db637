"""Snapshots in SQLite and PostgreSQL: how many are kept, and who may store them at once."""

import psycopg
import pytest
from sql_dumps import schema_of
from sql_rows import rows
from sqlalchemy import make_url
from store_helpers import OTHER, STREAM, race_processes

from eskernel.errors import NotStorable
from eskernel.values import Receipt, Snapshot


@pytest.fixture
def store(sql_url, open_sql):
    return open_sql(sql_url)


def kept(store, stream_id=STREAM):
    """Return the sequences of a stream's snapshots."""
    found = rows(
        store,
        "SELECT sequence FROM eskernel_snapshots"
        f" WHERE aggregate_id = '{stream_id[1]}' ORDER BY sequence",
    )
    return [sequence for (sequence,) in found]


def test_no_more_are_kept_than_asked_for(store):
    for sequence in (1, 2, 3, 4):
        store.store(Snapshot(STREAM, sequence, sequence), keep=3)
        store.store(Snapshot(OTHER, sequence, sequence))
    assert kept(store) == [2, 3, 4]
    assert kept(store, OTHER) == [4]
    store.store(Snapshot(STREAM, 5, 5), keep=1)
    assert kept(store) == [5]


def test_one_that_is_older_than_those_kept_is_not(store):
    for sequence in (5, 6):
        store.store(Snapshot(STREAM, sequence, sequence), keep=2)
    store.store(Snapshot(STREAM, 4, 4), keep=2)
    assert kept(store) == [5, 6]
    assert store.load_latest(STREAM).sequence == 6


def test_one_of_the_same_sequence_takes_the_place_of_the_other(store):
    receipts = (Receipt("c-1", 1, 2), Receipt("\U0001f600", 3, 3))
    store.store(Snapshot(STREAM, 5, "old", "v1", (), 1))
    new = Snapshot(STREAM, 5, {"new": [1]}, "v2", receipts, 2)
    store.store(new)
    assert kept(store) == [5]
    assert store.load_latest(STREAM) == new


def test_what_cannot_be_stored_leaves_what_is_there(store):
    store.store(Snapshot(STREAM, 5, "old"))
    with pytest.raises(NotStorable):
        store.store(Snapshot(STREAM, 6, object()))
    assert store.load_latest(STREAM).state == "old"


def test_an_unknown_stream_has_none(store):
    assert store.load_latest(STREAM) is None


def test_one_may_be_of_any_size(store):
    snapshot = Snapshot(STREAM, 1, bytes(3 << 20))
    store.store(snapshot)
    assert store.load_latest(STREAM).state == bytes(3 << 20)


def test_old_ones_that_another_process_deletes_are_left_to_it(postgresql_url, open_sql):
    options = f"-csearch_path={schema_of(postgresql_url)} -clock_timeout=200"
    store = open_sql(make_url(postgresql_url).update_query_dict({"options": options}))
    for sequence in (1, 2):
        store.store(Snapshot(STREAM, sequence, sequence), keep=2)
    with psycopg.connect(postgresql_url) as other:
        other.execute("DELETE FROM eskernel_snapshots WHERE sequence = 1")
        store.store(Snapshot(STREAM, 3, 3), keep=1)
        assert kept(store) == [1, 3]
    assert kept(store) == [3]


def test_processes_that_store_snapshots_of_one_stream_never_wait_for_each_other(sql_url, open_sql):
    store = open_sql(sql_url)
    race_processes(
        4,
        f"""
        import random

        def work(index):
            rng = random.Random(index)
            with closing(open_store({sql_url!r})) as store:
                for number in range(40):
                    sequence = number * 4 + rng.randrange(12)
                    store.store(Snapshot(STREAM, sequence, [index, number]), keep=2)
                    assert store.load_latest(STREAM).state[0] in range(4)
                store.store(Snapshot(STREAM, 1000 + index, [index]), keep=2)
        """,
    )
    assert kept(store) == [1002, 1003]
    assert store.load_latest(STREAM).state == [3]
