"""A Kernel whose PostgreSQL is stopped, killed or cut off."""

import threading
from contextlib import closing

import psycopg
import pytest
from kernel_helpers import TYPE, add, attempt, stop_aggregate
from store_helpers import logged, payloads
from support import eventually, run_threads

from eskernel.errors import StoreUnavailable
from eskernel_stores.sql import SqlStore

STREAM = (TYPE, "a")


@pytest.fixture
def store(postgresql_url):
    with closing(SqlStore(postgresql_url)) as store:
        yield store


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_commands_fail_while_the_server_is_down_and_work_afterwards(
    start, store, postgresql_to_kill, end
):
    kernel = start()
    kernel.dispatch(add("a", 1, command_id="c-1"))
    kernel.dispatch(add("left", 1))
    stop_aggregate(kernel, "left")
    getattr(postgresql_to_kill, end)()
    for name in ("a", "left", "new"):
        error = attempt(kernel.dispatch, add(name, 2, command_id="c-2"))
        assert isinstance(error, StoreUnavailable), error
        assert not error.outcome_unknown
    postgresql_to_kill.start()
    for name, sequence in (("a", 2), ("left", 2), ("new", 1)):
        done = eventually(lambda name=name: accepted(kernel, add(name, 2, command_id="c-2")))
        assert done.sequence == sequence
        assert kernel.dispatch(add(name, 2, command_id="c-2")).sequence == sequence
    assert kernel.state_of(TYPE, "a") == ({"total": 3, "count": 2}, 2)
    assert [payload["n"] for payload in payloads(store, STREAM)] == [1, 2]


def read(store):
    """Return the payloads of the log, or None when the connection was just ended."""
    found = attempt(logged, store)
    return None if isinstance(found, StoreUnavailable) else found


def accepted(kernel, command):
    """Return the outcome, or None while an aggregate backs off after it could not be read."""
    outcome = attempt(kernel.dispatch, command)
    return None if isinstance(outcome, Exception) else outcome


@pytest.mark.parametrize("end", ["kill", "terminate"])
def test_a_command_whose_append_is_cut_off_is_stored_once_when_it_is_repeated(
    start, store, postgresql_url, postgresql_to_kill, end
):
    kernel = start()
    kernel.dispatch(add("a", 1))
    lock = psycopg.connect(postgresql_url)
    with closing(lock):
        lock.execute("SELECT * FROM eskernel_log FOR UPDATE")
        future = kernel.submit(add("a", 2, command_id="c-2"))
        eventually(lambda: waiting(postgresql_to_kill))
        if end == "kill":
            postgresql_to_kill.kill()
            postgresql_to_kill.start()
        else:
            (first,) = waiting(postgresql_to_kill)
            postgresql_to_kill.execute(f"select pg_terminate_backend({first})")
            eventually(lambda: waiting(postgresql_to_kill) not in ([], [first]))
            lock.rollback()
    outcome = attempt(future.result, 20)
    if end == "kill":
        assert getattr(outcome, "outcome_unknown", False) or outcome.sequence == 2
    else:
        assert outcome.sequence == 2
    done = eventually(lambda: accepted(kernel, add("a", 2, command_id="c-2")))
    assert done.sequence == 2
    assert kernel.state_of(TYPE, "a") == ({"total": 3, "count": 2}, 2)
    assert [payload["n"] for payload in payloads(store, STREAM)] == [1, 2]


def waiting(postgresql):
    """Return the process ids of the appends that wait for the log's lock."""
    found = postgresql.execute(
        "select pid from pg_stat_activity where wait_event_type = 'Lock'"
        " and query like '%eskernel_append%' and pid <> pg_backend_pid()"
    )
    return [pid for (pid,) in found]


def test_connections_ended_under_load_lose_and_repeat_nothing(start, store, postgresql):
    kernel = start()
    over = threading.Event()

    def load(index):
        for number in range(40):
            command = add(f"of {index % 3}", 1000 * index + number, command_id=f"{index} {number}")
            eventually(lambda command=command: accepted(kernel, command), timeout=20)

    def end():
        while not over.wait(0.02):
            postgresql.terminate_connections()

    ending = threading.Thread(target=end)
    ending.start()
    try:
        run_threads(*(lambda i=index: load(i) for index in range(6)), timeout=60)
    finally:
        over.set()
        ending.join(10)
    found = eventually(lambda: read(store))
    wanted = [1000 * index + number for index in range(6) for number in range(40)]
    assert sorted(event["n"] for event in found) == wanted
