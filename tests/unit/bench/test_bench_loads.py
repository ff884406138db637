"""What the measures of durable stores are made of does what its figures say."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import partial

import pytest

from eskernel import Event
from eskernel.contracts import BatchingEventStore, Commit
from eskernel.errors import ConcurrencyConflict
from eskernel_stores import MemoryStore
from scripts.bench.accounts import TYPE, running, steps
from scripts.bench.callers import callers_load, shares_apart, shares_load, together
from scripts.bench.figure import Figure
from scripts.bench.latencies import Latencies
from scripts.bench.long_streams import LONG, compare
from scripts.bench.long_tables import fill_long
from scripts.bench.places import folder, sqlite_store
from scripts.bench.rehydrating import rehydrate_each_way, time_rehydration
from scripts.bench.rivals.raw_file import RawLines
from scripts.bench.rivals.raw_sqlite import RawRows
from scripts.bench.streams import fill
from scripts.bench.timing import Load, size_for, take_turns
from scripts.bench.wrapped import Counting, Unbatched


def events_of(store, name):
    return store.fold((TYPE, name), lambda events, event: [*events, event], [])


def test_callers_apart_share_no_account():
    shares = shares_apart(16, 1600)
    accounts = [{name for name, _, _ in share} for share in shares]
    assert sum(map(len, shares)) == 1600
    assert sum(map(len, accounts)) == len(set().union(*accounts)) == 128


def test_callers_apart_can_begin_at_another_account():
    first = {name for share in shares_apart(32, 640) for name, _, _ in share}
    second = {name for share in shares_apart(32, 640, 128) for name, _, _ in share}
    assert first.isdisjoint(second)


def test_every_step_of_every_caller_is_dispatched():
    store, latencies = MemoryStore(), Latencies()
    with running(0, store) as kernel:
        load = shares_load(kernel, shares_apart(4, 400), latencies)
        assert load.size == 400
        assert load.run() > 0
    assert store.last_position() == 400


def test_what_fails_on_a_thread_is_raised():
    with pytest.raises(ZeroDivisionError):
        together([lambda: None, lambda: 1 / 0])


def test_loads_take_turns_and_the_first_round_does_not_count():
    ran = []
    loads = {name: Load(1, partial(ran.append, name)) for name in "abc"}
    rates = take_turns(2, loads, lambda word: None)
    assert "".join(ran) == "abcabcabc"
    assert {name: len(each) for name, each in rates.items()} == {"a": 2, "b": 2, "c": 2}


def test_latencies_stand_beside_a_figure():
    latencies = Latencies()
    with running(1) as kernel:
        latencies.dispatch_steps(kernel, steps(20, 1))
    figure = latencies.beside(Figure("rate", 1.0, "ratio", "1", details={"ours": 1}))
    assert figure.shown.startswith("1; dispatch p50 ")
    assert 0 < figure.details["p50"] <= figure.details["p99"]
    assert figure.details["ours"] == 1


def test_a_store_that_cannot_batch_commits_one_by_one():
    store = Counting(MemoryStore())
    alone = Unbatched(store)
    assert isinstance(store, BatchingEventStore)
    assert not isinstance(alone, BatchingEventStore)
    with running(1, alone) as kernel:
        callers_load(kernel, 8, 80, 1).run()
    assert store.last_position() == 81


def test_batches_are_counted_from_where_it_was_told():
    store = Counting(MemoryStore())
    commits = [Commit(("a", name), [Event(("a", name), 1, "c", None)], 0) for name in "bcd"]
    store.append_batch(commits[:1])
    store.forget()
    store.append_batch(commits[1:])
    assert store.average() == 2
    assert store.last_position() == 3


@pytest.mark.parametrize("at_once", [4, 1])
def test_a_stream_is_filled_by_appends_of_the_size_wanted(at_once):
    appends = []

    class Seeing(MemoryStore):
        def append_batch(self, commits):
            appends.extend(commits)
            return super().append_batch(commits)

    store = Seeing()
    fill(store, "a", 5, at_once)
    assert [commit.expected_sequence for commit in appends] == [*range(0, 5, at_once)]
    assert [event.sequence for event in events_of(store, "a")] == [1, 2, 3, 4, 5]


def test_an_append_that_fails_fails_the_filling():
    store = MemoryStore()
    fill(store, "a", 5)
    with pytest.raises(ConcurrencyConflict):
        fill(store, "a", 5)


def test_streams_appended_each_way_are_as_long():
    store = MemoryStore()
    rates = rehydrate_each_way(store, 0.01, lambda word: None)
    assert all(len(each) == 3 and min(each) > 0 for each in rates.values())
    assert [len(events_of(store, how)) for how in rates] == [100, 100, 100]


def test_a_size_is_found_that_takes_as_long_as_wanted():
    tried = []

    def load_of(size):
        tried.append(size)
        return Load(size, lambda: size / 1000)

    assert size_for(load_of, 3.0, 5) == 3000
    assert tried == [5, 20, 80, 320, 1280]
    assert size_for(load_of, 0.001, 5) == 5


def test_a_long_stream_is_as_if_appended(tmp_path):
    path = tmp_path / "a.db"
    with closing(sqlite_store(path)) as store:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            fill_long(store, 50, connection.execute)
        events = events_of(store, LONG)
        assert [event.sequence for event in events] == [*range(1, 51)]
        assert {event.payload["amount"] for event in events} == {300}
        assert time_rehydration(store, LONG, 50) > 0
        assert store.load_latest((TYPE, LONG)).state == {"balance": 300 * 50}


def test_lengths_are_compared_by_medians():
    seconds = {LONG: 0.2, "a": 0.1, "b": 0.1}
    assert compare(lambda name, last: seconds[name], ["a", "b"], 5) == (0.02, 0.01)


def test_raw_rows_are_events_of_the_store(tmp_path):
    path = tmp_path / "a.db"
    with closing(RawRows(path)) as raw:
        raw.insert(steps(6, 2))
    with closing(sqlite_store(path)) as store:
        assert [event.payload for event in events_of(store, "acc-1")] == [
            {"type": "deposited", "amount": 300},
            {"type": "withdrawn", "amount": 200},
            {"type": "deposited", "amount": 300},
        ]


def test_raw_lines_are_all_there(tmp_path):
    with closing(RawLines(tmp_path / "a")) as raw:
        raw.append(b"one\n", 3)
    assert (tmp_path / "a").read_bytes() == b"one\n" * 3


def test_a_folder_is_gone_at_the_end():
    with folder() as place:
        (place / "a").touch()
    assert not place.exists()
