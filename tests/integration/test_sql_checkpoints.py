"""Checkpoints and leases in databases: locks, clocks, and connections that fail."""

import time
from contextlib import closing

import pytest
from cutting_proxy import CuttingProxy
from sql_rows import rows
from sqlalchemy import make_url
from store_helpers import append, log, unavailable

from eskernel.contracts import TableStore
from eskernel.values import Checkpoint

NAME = "balances"


def made(position, epoch=0):
    return Checkpoint(position, "v1", b"\x81\xa1b\x05", b"\x90", epoch)


def calls_of(store):
    return (
        lambda: store.load_checkpoint(NAME),
        lambda: store.save_checkpoints(NAME, 1, {"serving": made(1)}),
        lambda: store.acquire_lease(NAME, "first", 5),
        lambda: store.release_lease(NAME, "first"),
        lambda: store.table_transaction(5).__enter__(),
    )


def test_it_is_a_store_of_tables(sql_url, open_sql):
    store = open_sql(sql_url)
    assert isinstance(store, TableStore)
    store.close()
    assert "closed" in str(unavailable(store.table_transaction(5).__enter__))


def test_leases_in_a_file_run_out_by_the_machines_clock(sqlite_url, open_sql, monkeypatch):
    store = open_sql(sqlite_url)
    store.acquire_lease(NAME, "first", 600)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 599)
    assert store.acquire_lease(NAME, "second", 600).owner == "first"
    monkeypatch.setattr(time, "time", lambda: now + 601)
    assert store.acquire_lease(NAME, "second", 600).owner == "second"


@pytest.mark.parametrize("forwarded", [True, False])
def test_a_save_whose_commit_is_lost_has_an_unknown_outcome(postgresql_url, open_sql, forwarded):
    with closing(CuttingProxy(make_url(postgresql_url).port)) as proxy:
        far = open_sql(make_url(postgresql_url).set(port=proxy.port))
        proxy.rules = [(b"COMMIT", forwarded)]
        error = unavailable(far.save_checkpoints, NAME, 1, {"serving": made(1)})
        assert error.outcome_unknown
        assert proxy.rules == []
        assert far.load_checkpoint(NAME) == (made(1, 1) if forwarded else None)
        far.save_checkpoints(NAME, 1, {"serving": made(1)})
        assert far.load_checkpoint(NAME) == made(1, 1)
        far.close()


def test_a_save_that_is_lost_on_its_way_is_known_not_to_be_stored(postgresql_url, open_sql):
    with closing(CuttingProxy(make_url(postgresql_url).port)) as proxy:
        far = open_sql(make_url(postgresql_url).set(port=proxy.port))
        proxy.rules = [(b"INSERT INTO eskernel_checkpoints", True)]
        error = unavailable(far.save_checkpoints, NAME, 1, {"serving": made(1)})
        assert not error.outcome_unknown
        assert far.load_checkpoint(NAME) is None
        far.close()


def test_a_server_that_is_down_is_unavailable_to_every_call(postgresql_to_kill, open_sql):
    store = open_sql(postgresql_to_kill.new_schema())
    store.save_checkpoints(NAME, 1, {"serving": made(1)})
    postgresql_to_kill.kill()
    for call in calls_of(store):
        assert not unavailable(call).outcome_unknown
    postgresql_to_kill.start()
    assert store.load_checkpoint(NAME) == made(1, 1)
    assert store.acquire_lease(NAME, "first", 5).epoch == 2


def test_appends_do_not_wait_for_who_holds_the_lease_row(postgresql_url, open_sql):
    store = open_sql(postgresql_url)
    store.acquire_lease(NAME, "first", 5)
    with store._database.transaction() as connection:
        connection.exec_driver_sql("SELECT * FROM eskernel_leases FOR UPDATE").all()
        append(store, ("a", "1"), "x")
    assert len(log(store)) == 1


def test_no_transaction_of_a_paused_process_lasts(postgresql_url, open_sql):
    store = open_sql(postgresql_url)
    assert rows(store, "SHOW idle_in_transaction_session_timeout") == [("10s",)]
