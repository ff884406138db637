"""Checkpoints and leases in databases: between processes, and when connections fail."""

import time
from contextlib import closing

import pytest
from cutting_proxy import CuttingProxy
from sql_helpers import append, log, race_processes, rows, run_program, unavailable
from sqlalchemy import make_url

from eskernel.contracts import CheckpointStore, TableStore
from eskernel.errors import NotStorable, StaleEpoch
from eskernel.values import Checkpoint
from eskernel_stores.sql import SqlStore

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


def test_it_is_a_store_of_checkpoints_and_tables(sql_url, open_sql):
    store = open_sql(sql_url)
    assert isinstance(store, CheckpointStore)
    assert isinstance(store, TableStore)


def test_eight_processes_get_the_first_lease_of_a_name_once(sql_url, open_sql):
    open_sql(sql_url)
    said = race_processes(
        8,
        f"""
        def work(index):
            with closing(SqlStore({sql_url!r}, timeout=30)) as store:
                for number in range(40):
                    lease = store.acquire_lease(f"name {{number}}", f"owner {{index}}", 600)
                    say(f"{{number}} {{lease.epoch}} {{lease.owner}}")
        """,
    )
    assert len(said) == 8 * 40
    told = {}
    for line in said:
        number, rest = line.split(" ", 1)
        told.setdefault(number, set()).add(rest)
    assert all(len(leases) == 1 for leases in told.values()), told
    assert all(lease.startswith("1 ") for leases in told.values() for lease in leases)


def test_eight_processes_that_hand_a_lease_on_never_share_an_epoch(sql_url, open_sql):
    store = open_sql(sql_url)
    said = race_processes(
        8,
        f"""
        import time

        def work(index):
            with closing(SqlStore({sql_url!r}, timeout=30)) as store:
                taken, deadline = 0, time.monotonic() + 60
                while taken < 5:
                    assert time.monotonic() < deadline
                    lease = store.acquire_lease("balances", f"owner {{index}}", 600)
                    if lease.owner != f"owner {{index}}":
                        continue
                    store.save_checkpoints("balances", lease.epoch, {{
                        "serving": Checkpoint(lease.epoch, "v", bytes([index]))
                    }})
                    say(lease.epoch)
                    found = store.load_checkpoint("balances")
                    assert found == (lease.epoch, "v", bytes([index]), b"", lease.epoch), found
                    store.release_lease("balances", f"owner {{index}}")
                    taken += 1
        """,
        timeout=90,
    )
    assert sorted(map(int, said)) == [*range(1, 41)]
    assert store.load_checkpoint(NAME).position == 40


def test_processes_that_save_slots_of_their_own_lose_none(sql_url, open_sql):
    store = open_sql(sql_url)
    race_processes(
        4,
        f"""
        def work(index):
            with closing(SqlStore({sql_url!r}, timeout=30)) as store:
                for position in range(20):
                    one = Checkpoint(position, "v", b"")
                    store.save_checkpoints("balances", 1, {{f"slot {{index}}": one}})
        """,
    )
    found = [store.load_checkpoint(NAME, f"slot {index}") for index in range(4)]
    assert found == [Checkpoint(19, "v", b"", b"", 1)] * 4


def test_a_process_that_was_taken_over_stores_nothing(sql_url, open_sql):
    store = open_sql(sql_url)
    epoch = store.acquire_lease(NAME, "here", 0).epoch
    store.save_checkpoints(NAME, epoch, {"serving": made(1)})
    said = run_program(
        f"""
        with closing(SqlStore({sql_url!r})) as store:
            lease = store.acquire_lease("balances", "there", 600)
            store.save_checkpoints("balances", lease.epoch, {{}})
            say(lease.epoch)
        """
    )
    assert said == [str(epoch + 1)]
    with pytest.raises(StaleEpoch):
        store.save_checkpoints(NAME, epoch, {"serving": made(2)})
    assert store.load_checkpoint(NAME) == made(1, epoch)
    assert store.acquire_lease(NAME, "here", 5).owner == "there"


def test_leases_run_out_by_the_servers_clock(postgresql_url, open_sql, monkeypatch):
    store = open_sql(postgresql_url)
    epoch = store.acquire_lease(NAME, "first", 600).epoch
    monkeypatch.setattr(time, "time", lambda: 2.0**33)
    lease = store.acquire_lease(NAME, "second", 600)
    assert (lease.owner, lease.epoch) == ("first", epoch)
    assert 500 < lease.seconds <= 600


def test_leases_in_a_file_run_out_by_the_machines_clock(sqlite_url, open_sql, monkeypatch):
    store = open_sql(sqlite_url)
    store.acquire_lease(NAME, "first", 600)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 599)
    assert store.acquire_lease(NAME, "second", 600).owner == "first"
    monkeypatch.setattr(time, "time", lambda: now + 601)
    assert store.acquire_lease(NAME, "second", 600).owner == "second"


def test_a_lease_may_be_for_ever(sql_url, open_sql):
    store = open_sql(sql_url)
    assert store.acquire_lease(NAME, "first", float("inf")).seconds == float("inf")
    assert store.acquire_lease(NAME, "second", 5).owner == "first"


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


def test_a_closed_store_says_so_to_every_call(sql_url):
    store = SqlStore(sql_url)
    store.close()
    for call in calls_of(store):
        assert "closed" in str(unavailable(call))


def test_a_server_that_is_down_is_unavailable_to_every_call(postgresql_to_kill, open_sql):
    store = open_sql(postgresql_to_kill.new_schema())
    store.save_checkpoints(NAME, 1, {"serving": made(1)})
    postgresql_to_kill.kill()
    for call in calls_of(store):
        assert not unavailable(call).outcome_unknown
    postgresql_to_kill.start()
    assert store.load_checkpoint(NAME) == made(1, 1)
    assert store.acquire_lease(NAME, "first", 5).epoch == 2


@pytest.mark.parametrize("name", ["\ud800", "a\0b", 5, None])
def test_a_name_that_cannot_be_stored_is_refused(sql_url, open_sql, name):
    store = open_sql(sql_url)
    for call in (
        lambda: store.load_checkpoint(name),
        lambda: store.load_checkpoint(NAME, name),
        lambda: store.save_checkpoints(name, 1, {"a": made(1)}),
        lambda: store.save_checkpoints(NAME, 1, {name: made(1)}),
        lambda: store.acquire_lease(name, "first", 5),
        lambda: store.acquire_lease(NAME, name, 5),
    ):
        with pytest.raises(NotStorable):
            call()
    assert rows(store, "SELECT * FROM eskernel_leases") == []


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
