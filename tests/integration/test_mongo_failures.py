"""MongoDB fails: what callers are told, and that stores and kernels work again by themselves."""

import contextvars
import random
import threading
import time
from contextlib import contextmanager

import pymongo
import pytest
from kernel_helpers import TYPE, add, attempt, stop_aggregate
from kernel_load import Load
from mongo_helpers import lost
from store_helpers import (
    OTHER,
    STREAM,
    append,
    every_call_unavailable,
    log,
    logged,
    made,
    payloads,
    unavailable,
)
from support import eventually, new_seed

from eskernel.contracts import Commit
from eskernel.errors import ConcurrencyConflict, StoreUnavailable

INSERT, FIND = b"insert", b"find"
LATE = {"code": 64, "codeName": "WriteConcernTimeout", "errmsg": "waiting timed out"}
AGAIN = {"expected_sequence": 0, "append_id": 7}


@pytest.fixture
def store(mongo_url, open_mongo):
    store = open_mongo(mongo_url)
    append(store, OTHER, "before")
    return store


@pytest.fixture
def far_store(store, open_far_mongo):
    """A store that reaches the server through the proxy, and has."""
    far_store = open_far_mongo()
    assert logged(far_store) == ["before"]
    return far_store


@pytest.fixture
def hasty(store, open_far_mongo):
    """One that soon gives up."""
    hasty = open_far_mongo(timeout=1)
    append(hasty, OTHER, "also before")
    return hasty


def test_a_server_that_restarts_is_met_again_without_a_failure(store, mongo_to_kill):
    mongo_to_kill.restart()
    assert append(store, STREAM, "x") == 2
    mongo_to_kill.kill()
    mongo_to_kill.start()
    assert logged(store) == ["before", "x"]


def test_who_calls_while_the_server_restarts_waits(store, open_mongo, mongo_url, mongo_to_kill):
    patient = open_mongo(mongo_url, timeout=30)
    mongo_to_kill.kill()
    starting = threading.Timer(0.3, mongo_to_kill.start)
    starting.start()
    try:
        assert patient.append(STREAM, made(STREAM, 0, "x"), expected_sequence=0) == 2
    finally:
        starting.join()
    assert logged(store) == ["before", "x"]


def test_while_the_server_is_down_nothing_is_stored_and_that_is_known(
    store, open_mongo, mongo_url, mongo_to_kill
):
    hasty = open_mongo(mongo_url, timeout=0.5)
    mongo_to_kill.kill()
    for error in every_call_unavailable(hasty, 0):
        assert not error.outcome_unknown
        assert "MongoDB" in str(error)
    results = hasty.append_batch(
        [Commit(one, made(one, 0, "x"), 0) for one in (STREAM, ("t", "u"))]
    )
    assert [(type(one), one.outcome_unknown) for one in results] == [(StoreUnavailable, False)] * 2
    assert results[0] is not results[1]
    mongo_to_kill.start()
    assert append(store, STREAM, "y") == 2
    assert logged(store) == ["before", "y"]
    assert eventually(lambda: reached(logged, hasty)) == ["before", "y"]


def reached(function, *arguments, **options):
    """Return the outcome, or None while the server is not back."""
    outcome = attempt(function, *arguments, **options)
    return None if isinstance(outcome, StoreUnavailable) else outcome


@pytest.mark.parametrize("forwarded", [True, False])
def test_an_append_that_is_cut_off_is_stored_once(far_store, mongo_proxy, forwarded):
    mongo_proxy.rules = [(INSERT, forwarded)]
    assert append(far_store, STREAM, "x", "y") == 3
    assert mongo_proxy.rules == []
    assert logged(far_store) == ["before", "x", "y"]


@pytest.mark.parametrize("forwarded", [True, False])
def test_a_batch_that_is_cut_off_is_stored_once(far_store, mongo_proxy, forwarded):
    mongo_proxy.rules = [(INSERT, forwarded)]
    results = far_store.append_batch(
        [
            Commit(STREAM, made(STREAM, 0, "x"), 0),
            Commit(OTHER, made(OTHER, 0, "late"), 0),
            Commit(STREAM, made(STREAM, 1, "y"), 1),
            Commit(OTHER, made(OTHER, 1, "z"), 1),
        ]
    )
    assert mongo_proxy.rules == []
    assert [results[0], results[2]] == [2, 3]
    assert [type(results[n]) for n in (1, 3)] == [ConcurrencyConflict] * 2
    assert logged(far_store) == ["before", "x", "y"]


@pytest.mark.parametrize("forwarded", [True, False])
def test_an_append_that_stays_lost_has_an_unknown_outcome_until_it_is_repeated(
    store, hasty, mongo_proxy, forwarded
):
    with lost(mongo_proxy, INSERT, forwarded):
        assert unavailable(hasty.append, STREAM, made(STREAM, 0, "x"), **AGAIN).outcome_unknown
        error = unavailable(hasty.append, STREAM, made(STREAM, 0, "y"), expected_sequence=0)
        assert not error.outcome_unknown
    assert payloads(store) == (["x"] if forwarded else [])
    append(store, OTHER, "meanwhile")
    again = eventually(lambda: reached(hasty.append, STREAM, made(STREAM, 0, "x"), **AGAIN))
    assert again == hasty.append(STREAM, made(STREAM, 0, "x"), **AGAIN) == (3 if forwarded else 4)
    assert payloads(store) == ["x"]
    assert [event.position for event in log(store)] == [1, 2, 3, 4]


def test_what_was_never_sent_is_known_not_to_be_stored(store, hasty, mongo_proxy):
    with lost(mongo_proxy, FIND, forwarded=False):
        unavailable(hasty.last_position)
        error = unavailable(hasty.append, STREAM, made(STREAM, 0, "x"), expected_sequence=0)
        assert not error.outcome_unknown
    assert payloads(store) == []


def test_an_append_that_a_majority_does_not_confirm_has_an_unknown_outcome(store, mongo_to_kill):
    """It is in the primary's log, and may yet be lost with the primary."""
    with mongo_to_kill.failing("insert", writeConcernError=LATE):
        assert unavailable(store.append, STREAM, made(STREAM, 0, "x"), **AGAIN).outcome_unknown
    assert store.append(STREAM, made(STREAM, 0, "x"), **AGAIN) == 2
    assert append(store, STREAM, "y") == 3
    assert logged(store) == ["before", "x", "y"]


def test_what_the_server_refuses_is_known_not_to_be_stored(store, mongo_to_kill):
    with mongo_to_kill.failing("insert", errorCode=13):  # Unauthorized
        error = unavailable(store.append, STREAM, made(STREAM, 0, "x"), expected_sequence=0)
    assert not error.outcome_unknown
    append(store, STREAM, "y")
    assert logged(store) == ["before", "y"]


def test_a_fold_goes_on_after_the_server_restarted_in_the_middle(store, mongo_to_kill):
    for start in range(0, 3000, 500):
        append(store, STREAM, *range(start, start + 500))

    def reading(events, event):
        if event.payload == 1000:
            mongo_to_kill.restart()
        return [*events, event.payload]

    assert store.fold(STREAM, reading, []) == list(range(3000))


def accepted(kernel, command):
    """Return the outcome, or None while the server is not back, or the aggregate backs off."""
    outcome = attempt(kernel.dispatch, command)
    return None if isinstance(outcome, Exception) else outcome


def test_commands_fail_while_the_server_is_down_and_work_afterwards(
    start, open_mongo, mongo_url, mongo_to_kill
):
    store = open_mongo(mongo_url, timeout=0.5)
    kernel = start(event_store=store)
    kernel.dispatch(add("a", 1, command_id="c-1"))
    kernel.dispatch(add("left", 1))
    stop_aggregate(kernel, "left")
    mongo_to_kill.stop()
    for name in ("a", "left", "new"):
        error = attempt(kernel.dispatch, add(name, 2, command_id="c-2"))
        assert isinstance(error, StoreUnavailable), error
        assert not error.outcome_unknown
    mongo_to_kill.start()
    for name, sequence in (("a", 2), ("left", 2), ("new", 1)):
        command = add(name, 2, command_id="c-2")
        done = eventually(lambda command=command: accepted(kernel, command), timeout=20)
        assert done.sequence == sequence
        assert kernel.dispatch(command).sequence == sequence
    assert kernel.state_of(TYPE, "a") == ({"total": 3, "count": 2}, 2)
    assert [event["n"] for event in payloads(store, (TYPE, "a"))] == [1, 2]


@contextmanager
def kernel_and_load(start, store):
    kernel = start(event_store=store, snapshot_interval=10)
    with Load(kernel) as load:
        yield load


def test_a_kernel_under_load_goes_on_after_the_server_was_killed_restarted_and_stepped_down(
    start, open_mongo, mongo_url, mongo_to_kill
):
    store = open_mongo(f"{mongo_url}?serverMonitoringMode=poll&heartbeatFrequencyMS=500")
    with kernel_and_load(start, store) as load:
        mongo_to_kill.kill()
        mongo_to_kill.start()
        load.go_on(20)
        mongo_to_kill.restart()
        load.go_on(20)
        with mongo_to_kill.stepped_down(1):
            pass
        load.go_on(20)
    load.check(store, open_mongo(mongo_url))


def test_a_kernel_under_load_goes_on_while_connections_are_cut(
    start, open_mongo, mongo_url, open_far_mongo, mongo_proxy
):
    """Before the server gets what is sent, and before its answer is passed on."""
    rng = random.Random(new_seed())
    store = open_far_mongo()
    with kernel_and_load(start, store) as load:
        for _ in range(10):
            mongo_proxy.rules.append((rng.choice([INSERT, INSERT, FIND]), rng.random() < 0.5))
            eventually(lambda: not mongo_proxy.rules, timeout=20)
            load.go_on(rng.randrange(5))
    load.check(open_mongo(mongo_url))


def test_what_interrupted_the_driver_leaves_no_deadline_in_the_thread(store):
    """As if an exception had arrived at the end of the driver's `timeout.__enter__`."""

    def interrupted():
        pymongo.timeout(0.001).__enter__()
        time.sleep(0.01)
        append(store, OTHER, "after")
        return payloads(store, OTHER)

    assert contextvars.copy_context().run(interrupted) == ["before", "after"]
