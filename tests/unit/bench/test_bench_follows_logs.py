"""What the measures of projections and subscriptions are made of does what its figures say."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager

import pytest

from domains import account_balances
from eskernel import Kernel
from eskernel_stores import MemoryStore
from scripts.bench.accounts import DOMAINS, TYPE, steps
from scripts.bench.catching_up import (
    MARKS,
    check_balances,
    memory_on_the_way,
    time_balances,
    time_catch_up,
)
from scripts.bench.followed import compare_followed
from scripts.bench.last_deposits import last_deposits
from scripts.bench.long_logs import fill_by_batches, fill_sqlite
from scripts.bench.pacer import Pacer
from scripts.bench.places import sqlite_store
from scripts.bench.rivals.raw_upserts import raw_sqlite
from scripts.bench.streams import AMOUNT


def log_of(store):
    return store.fold_all(lambda events, event: [*events, event], [])[0]


def what(event):
    return event.position, event.stream_id, event.sequence, event.type, event.payload


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.db"


def test_a_long_log_made_by_the_database_is_as_if_appended(path):
    memory = MemoryStore()
    fill_by_batches(memory, 30, accounts=3)
    with closing(sqlite_store(path)) as store:
        fill_sqlite(store, path, 30, accounts=3)
        assert [*map(what, log_of(store))] == [*map(what, log_of(memory))]


def test_what_comes_after_a_long_log_is_appended_to_it(path):
    with closing(sqlite_store(path)) as store:
        fill_sqlite(store, path, 30, accounts=3)
        event = log_of(store)[0]._replace(sequence=11)
        assert store.append((TYPE, "acc-0"), [event], expected_sequence=10) == 31


def test_each_catch_up_begins_anew():
    store = MemoryStore()
    fill_by_batches(store, 500)
    seen = []

    class Seeing:
        version = 1
        init = staticmethod(int)

        @staticmethod
        def handle_event(event, state):
            seen.append(event.position)
            return state + 1

    for _ in range(2):
        assert time_catch_up(store, Seeing) > 0
    assert seen == [*range(1, 501), *range(1, 501)]


def test_balances_that_are_wrong_are_noticed():
    store = MemoryStore()
    fill_by_batches(store, 200)
    assert time_balances(store, 200) > 0
    with Kernel(DOMAINS, store, projections={"balances": account_balances}) as kernel:
        kernel.projection("balances").wait_for(200)
        balances = kernel.projection("balances").state
    check_balances(balances, 200)
    with pytest.raises(AssertionError, match="not every deposit"):
        check_balances({**balances, "acc-7": AMOUNT}, 200)
    with pytest.raises(AssertionError, match="astray"):
        check_balances({**balances, "acc-0": 3 * AMOUNT, "acc-7": AMOUNT}, 200)


def test_memory_is_looked_at_on_the_way(path):
    with closing(sqlite_store(path)) as store:
        fill_sqlite(store, path, 1000)
    sizes = memory_on_the_way(path, 1000)
    assert len(sizes) == len(MARKS)
    assert all(size > 2**20 for size in sizes)


def test_the_tables_of_ours_and_of_the_rival_hold_the_same(path):
    with closing(sqlite_store(path)) as store, closing(raw_sqlite(path)) as raw:
        fill_sqlite(store, path, 2500, accounts=7)
        time_catch_up(store, last_deposits(1))
    with closing(sqlite3.connect(path)) as connection:
        ours = connection.execute("SELECT * FROM last_deposits_1 ORDER BY account").fetchall()
    assert ours == [(f"acc-{number}", AMOUNT, 2500 - (2499 - number) % 7) for number in range(7)]
    for put in (lambda raw: raw.put_ready(2500, 7), lambda raw: raw.put_read()):
        with closing(raw_sqlite(path)) as raw:
            put(raw)
            assert raw.totals() == (7, sum(position for _, _, position in ours))
        with closing(sqlite3.connect(path)) as connection:
            found = connection.execute("SELECT * FROM raw_last_deposits ORDER BY account")
            assert found.fetchall() == ours


def test_projections_that_follow_are_compared_with_none_and_end_up_with_all():
    stores = []

    @contextmanager
    def new_store():
        stores.append(MemoryStore())
        yield stores[-1]

    shares = [steps(60, 10), steps(60, 10, 5)]
    figure = compare_followed("name", new_store, 10, shares, 3, lambda word: None)
    assert figure.at_least == 0.5
    assert len(figure.details["lags"]) == 3
    assert all(0 <= lag <= 130 for lags in figure.details["lags"] for lag in lags)
    assert [store.last_position() for store in stores] == [130] * 8
    followed = [store.load_checkpoint("projection/first") is not None for store in stores]
    assert followed == [True, False] * 4


def test_a_pacer_appends_in_a_process_of_its_own(path):
    with closing(sqlite_store(path)) as store:
        with closing(Pacer(f"sqlite:///{path}", 2)) as pacer:
            before = store.last_position()
            pacer.begin()
            first, second = pacer.answered()
        assert first < second
        assert store.last_position() == before + 2


def test_a_pacer_that_cannot_begin_is_told(capfd):
    with pytest.raises(RuntimeError, match="status 1"):
        Pacer("no-database", 1)
    assert "no-database" in capfd.readouterr().err
