"""Checkpoints and leases in MongoDB: epochs, names, and what is known when servers fail."""

import threading

import pytest
from mongo_helpers import LARGE, NAME, checkpoint, lost
from store_helpers import unavailable
from support import eventually

from eskernel.errors import StoreUnavailable

UPDATE = b"findAndModify"


@pytest.fixture
def store(mongo_url, open_mongo):
    return open_mongo(mongo_url)


@pytest.fixture
def far_store(store, open_far_mongo):
    """A store that reaches the server through the proxy, and has; it soon gives up."""
    store.save_checkpoints(NAME, 1, {"serving": checkpoint(1)})
    far_store = open_far_mongo(timeout=1)
    assert far_store.load_checkpoint(NAME) == checkpoint(1, 1)
    return far_store


def is_reached(function, *arguments):
    """Return whether a call finds a server that can serve it."""
    try:
        function(*arguments)
    except StoreUnavailable:
        return False
    return True


def calls_of(store):
    return (
        lambda: store.load_checkpoint(NAME),
        lambda: store.save_checkpoints(NAME, 1, {"serving": checkpoint(1)}),
        lambda: store.save_checkpoints(NAME, 1, {"serving": checkpoint(1, 1, LARGE)}),
        lambda: store.acquire_lease(NAME, "first", 5),
        lambda: store.release_lease(NAME, "first"),
    )


def test_who_was_overtaken_by_a_save_gets_a_larger_epoch(store):
    assert store.acquire_lease(NAME, "first", 600).epoch == 1
    store.save_checkpoints(NAME, 5, {"serving": checkpoint(1)})
    assert store.acquire_lease(NAME, "first", 600)[:2] == ("first", 6)
    store.save_checkpoints(NAME, 6, {"serving": checkpoint(2)})
    assert store.acquire_lease(NAME, "second", 600)[:2] == ("first", 6)


def test_names_that_the_servers_language_would_take_for_its_own_are_kept(store):
    for name in ("$owner", "$$NOW", "a.b", "$literal"):
        assert store.acquire_lease(name, name, 600)[:2] == (name, 1)
        assert store.acquire_lease(name, "$epoch", 600)[:2] == (name, 1)
        store.save_checkpoints(name, 1, {name: checkpoint(1), "other": checkpoint(2)})
        assert store.load_checkpoint(name, name) == checkpoint(1, 1)
        store.save_checkpoints(name, 1, {name: None})
        assert store.load_checkpoint(name, name) is None
        assert store.load_checkpoint(name, "other") == checkpoint(2, 1)


@pytest.mark.parametrize("forwarded", [True, False])
def test_a_save_that_is_lost_once_is_sent_once_more(store, far_store, mongo_proxy, forwarded):
    mongo_proxy.rules = [(UPDATE, forwarded)]
    far_store.save_checkpoints(NAME, 1, {"serving": checkpoint(2)})
    assert mongo_proxy.rules == []
    assert store.load_checkpoint(NAME) == checkpoint(2, 1)


@pytest.mark.parametrize("forwarded", [True, False])
@pytest.mark.parametrize("state", [b"", LARGE])
def test_a_save_that_stays_lost_has_an_unknown_outcome(
    store, far_store, mongo_proxy, forwarded, state
):
    with lost(mongo_proxy, b"$unset", forwarded):  # of the update that stores it
        error = unavailable(
            far_store.save_checkpoints, NAME, 1, {"serving": checkpoint(2, 1, state)}
        )
        assert error.outcome_unknown
    assert store.load_checkpoint(NAME) == (
        checkpoint(2, 1, state) if forwarded else checkpoint(1, 1)
    )
    store.save_checkpoints(NAME, 1, {"serving": checkpoint(2, 1, state)})
    assert store.load_checkpoint(NAME) == checkpoint(2, 1, state)


def test_a_large_save_that_is_sent_again_to_a_server_that_forgot_it_is_stored(
    store, open_far_mongo, mongo_to_kill, mongo_proxy
):
    """Its value is no longer on the list then, for the entry points at it."""
    far_store = open_far_mongo(timeout=30)
    far_store.save_checkpoints(NAME, 1, {"serving": checkpoint(1)})

    def restart():
        eventually(lambda: store.load_checkpoint(NAME) == checkpoint(2, 1, LARGE), timeout=20)
        mongo_to_kill.kill()
        mongo_to_kill.start()

    saving = threading.Thread(
        target=far_store.save_checkpoints, args=(NAME, 1, {"serving": checkpoint(2, 1, LARGE)})
    )
    with lost(mongo_proxy, b"$unset", forwarded=True):
        saving.start()
        restart()
    saving.join(30)
    assert not saving.is_alive()
    far_store.save_checkpoints(NAME, 1, {"next": checkpoint(3)})
    assert store.load_checkpoint(NAME) == checkpoint(2, 1, LARGE)


@pytest.mark.parametrize(("needle", "forwarded"), [(UPDATE, True), (b"chunks", False)])
def test_a_large_save_lost_before_it_is_pointed_at_is_known_not_to_be_stored(
    store, far_store, mongo_proxy, needle, forwarded
):
    with lost(mongo_proxy, needle, forwarded):
        error = unavailable(
            far_store.save_checkpoints, NAME, 1, {"serving": checkpoint(2, 1, LARGE)}
        )
        assert not error.outcome_unknown
    assert store.load_checkpoint(NAME) == checkpoint(1, 1)


def test_a_save_that_a_majority_does_not_confirm_has_an_unknown_outcome(store, mongo_to_kill):
    store.save_checkpoints(NAME, 1, {"serving": checkpoint(1)})
    late = {"code": 64, "codeName": "WriteConcernTimeout", "errmsg": "waiting timed out"}
    with mongo_to_kill.failing("findAndModify", writeConcernError=late):
        error = unavailable(store.save_checkpoints, NAME, 1, {"serving": checkpoint(2)})
    assert error.outcome_unknown
    with mongo_to_kill.failing("findAndModify", writeConcernError=late):
        assert unavailable(store.acquire_lease, NAME, "first", 5)
    with mongo_to_kill.failing("update", writeConcernError=late):
        assert unavailable(store.release_lease, NAME, "first")


def test_a_server_that_is_no_longer_primary_stores_nothing_and_that_is_known(
    mongo_to_kill, mongo_url, open_mongo
):
    polling = "serverMonitoringMode=poll&heartbeatFrequencyMS=500"
    hasty = open_mongo(f"{mongo_url}?{polling}", timeout=0.5)
    store = open_mongo(f"{mongo_url}?{polling}")
    store.save_checkpoints(NAME, 1, {"serving": checkpoint(1)})
    with mongo_to_kill.stepped_down(1):
        error = unavailable(hasty.save_checkpoints, NAME, 1, {"serving": checkpoint(2)})
        assert not error.outcome_unknown
        assert "primary" in str(error)
    eventually(lambda: is_reached(store.load_checkpoint, NAME))
    assert store.load_checkpoint(NAME) == checkpoint(1, 1)
    store.save_checkpoints(NAME, 1, {"serving": checkpoint(3)})


def test_a_server_that_is_down_is_unavailable_to_every_call(
    store, mongo_to_kill, mongo_url, open_mongo
):
    store.save_checkpoints(NAME, 1, {"serving": checkpoint(1)})
    hasty = open_mongo(mongo_url, timeout=0.5)
    mongo_to_kill.kill()
    for call in calls_of(hasty):
        assert not unavailable(call).outcome_unknown
    mongo_to_kill.start()
    assert store.load_checkpoint(NAME) == checkpoint(1, 1)
    assert store.acquire_lease(NAME, "first", 5).epoch == 2
