"""Checkpoints and leases in MongoDB: between processes, when servers fail, and large ones."""

import threading
import time
from contextlib import closing

import pytest
from cutting_proxy import CuttingProxy
from mongo_helpers import far_url, lost
from sql_helpers import race_processes, run_program, unavailable
from support import eventually

from eskernel.contracts import CheckpointStore
from eskernel.errors import CorruptStore, NotStorable, StaleEpoch, StoreUnavailable
from eskernel.values import Checkpoint
from eskernel_stores.mongo import MongoStore
from eskernel_stores.mongo.large import INLINE
from eskernel_stores.mongo.large.values import PIECE

NAME = "balances"
UPDATE = b"findAndModify"
LARGE = bytes(PIECE + 1000)


@pytest.fixture
def store(mongo_url, open_mongo):
    return open_mongo(mongo_url)


@pytest.fixture
def proxy(mongo_to_kill):
    with closing(CuttingProxy(mongo_to_kill.port)) as proxy:
        yield proxy


@pytest.fixture
def far_store(proxy, mongo_url, store, open_mongo):
    """A store that reaches the server through the proxy, and has; it soon gives up."""
    store.save_checkpoints(NAME, 1, {"serving": made(1)})
    far_store = open_mongo(far_url(mongo_url, proxy), timeout=1)
    assert far_store.load_checkpoint(NAME) == made(1, 1)
    yield far_store
    far_store.close()  # before the proxy


def made(position, epoch=0, state=b"\x81\xa1b\x05"):
    return Checkpoint(position, "$v1", state, b"\x90", epoch)


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
        lambda: store.save_checkpoints(NAME, 1, {"serving": made(1)}),
        lambda: store.save_checkpoints(NAME, 1, {"serving": made(1, 1, LARGE)}),
        lambda: store.acquire_lease(NAME, "first", 5),
        lambda: store.release_lease(NAME, "first"),
    )


def test_it_is_a_store_of_checkpoints(store):
    assert isinstance(store, CheckpointStore)


def test_eight_processes_get_the_first_lease_of_a_name_once(mongo_url, open_mongo):
    open_mongo(mongo_url)
    said = race_processes(
        8,
        f"""
        from eskernel_stores.mongo import MongoStore

        def work(index):
            with closing(MongoStore({mongo_url!r}, timeout=30)) as store:
                for number in range(20):
                    lease = store.acquire_lease(f"name {{number}}", f"owner {{index}}", 600)
                    say(f"{{number}} {{lease.epoch}} {{lease.owner}}")
        """,
    )
    assert len(said) == 8 * 20
    told = {}
    for line in said:
        number, rest = line.split(" ", 1)
        told.setdefault(number, set()).add(rest)
    assert all(len(leases) == 1 for leases in told.values()), told
    assert all(lease.startswith("1 ") for leases in told.values() for lease in leases)


def test_processes_that_hand_a_lease_on_never_share_an_epoch(mongo_url, open_mongo):
    store = open_mongo(mongo_url)
    said = race_processes(
        6,
        f"""
        import time
        from eskernel_stores.mongo import MongoStore

        def work(index):
            with closing(MongoStore({mongo_url!r}, timeout=30)) as store:
                taken, deadline = 0, time.monotonic() + 60
                while taken < 4:
                    assert time.monotonic() < deadline
                    lease = store.acquire_lease("balances", f"owner {{index}}", 600)
                    if lease.owner != f"owner {{index}}":
                        continue
                    state = bytes([index]) * (300_000 if lease.epoch % 2 else 1)
                    store.save_checkpoints("balances", lease.epoch, {{
                        "serving": Checkpoint(lease.epoch, "v", state)
                    }})
                    say(lease.epoch)
                    found = store.load_checkpoint("balances")
                    assert found == (lease.epoch, "v", state, b"", lease.epoch), found[:2]
                    store.release_lease("balances", f"owner {{index}}")
                    taken += 1
        """,
        timeout=90,
    )
    assert sorted(map(int, said)) == [*range(1, 25)]
    assert store.load_checkpoint(NAME).position == 24


def test_processes_that_save_slots_of_their_own_lose_none(mongo_url, open_mongo, mongo_database):
    store = open_mongo(mongo_url)
    race_processes(
        4,
        f"""
        from eskernel_stores.mongo import MongoStore

        def work(index):
            with closing(MongoStore({mongo_url!r}, timeout=30)) as store:
                for position in range(20):
                    one = Checkpoint(position, "v", bytes(300_000 * (index % 2)))
                    store.save_checkpoints("balances", 1, {{f"slot {{index}}": one}})
        """,
    )
    for index in range(4):
        found = store.load_checkpoint(NAME, f"slot {index}")
        assert found == Checkpoint(19, "v", bytes(300_000 * (index % 2)), b"", 1)
    assert mongo_database["chunks"].count_documents({}) == 2


def test_a_process_that_was_taken_over_stores_nothing(mongo_url, store, mongo_database):
    epoch = store.acquire_lease(NAME, "here", 0).epoch
    store.save_checkpoints(NAME, epoch, {"serving": made(1)})
    said = run_program(
        f"""
        from eskernel_stores.mongo import MongoStore

        with closing(MongoStore({mongo_url!r})) as store:
            lease = store.acquire_lease("balances", "there", 600)
            store.save_checkpoints("balances", lease.epoch, {{}})
            say(lease.epoch)
        """
    )
    assert said == [str(epoch + 1)]
    for late in (made(2), made(2, state=LARGE)):
        with pytest.raises(StaleEpoch) as caught:
            store.save_checkpoints(NAME, epoch, {"serving": late})
        assert (caught.value.epoch, caught.value.newest) == (epoch, epoch + 1)
    assert store.load_checkpoint(NAME) == made(1, epoch)
    assert store.acquire_lease(NAME, "here", 5).owner == "there"
    assert mongo_database["chunks"].count_documents({}) == 0


def test_who_was_overtaken_by_a_save_gets_a_larger_epoch(store):
    assert store.acquire_lease(NAME, "first", 600).epoch == 1
    store.save_checkpoints(NAME, 5, {"serving": made(1)})
    assert store.acquire_lease(NAME, "first", 600)[:2] == ("first", 6)
    store.save_checkpoints(NAME, 6, {"serving": made(2)})
    assert store.acquire_lease(NAME, "second", 600)[:2] == ("first", 6)


def test_leases_run_out_by_the_servers_clock(store, monkeypatch):
    epoch = store.acquire_lease(NAME, "first", 600).epoch
    monkeypatch.setattr(time, "time", lambda: 2.0**33)
    lease = store.acquire_lease(NAME, "second", 600)
    assert (lease.owner, lease.epoch) == ("first", epoch)
    assert 500 < lease.seconds <= 600


def test_a_lease_may_be_for_ever(store):
    assert store.acquire_lease(NAME, "first", float("inf")).seconds == float("inf")
    assert store.acquire_lease(NAME, "second", 5).owner == "first"


def test_names_that_the_servers_language_would_take_for_its_own_are_kept(store):
    for name in ("$owner", "$$NOW", "a.b", "$literal"):
        assert store.acquire_lease(name, name, 600)[:2] == (name, 1)
        assert store.acquire_lease(name, "$epoch", 600)[:2] == (name, 1)
        store.save_checkpoints(name, 1, {name: made(1), "other": made(2)})
        assert store.load_checkpoint(name, name) == made(1, 1)
        store.save_checkpoints(name, 1, {name: None})
        assert store.load_checkpoint(name, name) is None
        assert store.load_checkpoint(name, "other") == made(2, 1)


def test_one_may_be_larger_than_a_document(store, mongo_database):
    huge = made(1, 1, bytes(17 << 20))
    store.save_checkpoints(NAME, 1, {"serving": huge, "next": made(2, 1, LARGE)})
    assert store.load_checkpoint(NAME) == huge
    assert store.load_checkpoint(NAME, "next") == made(2, 1, LARGE)
    assert mongo_database["chunks"].count_documents({}) == 7
    store.save_checkpoints(NAME, 1, {"serving": made(3), "next": made(3, 1, LARGE)})
    assert mongo_database["chunks"].count_documents({}) == 2
    store.save_checkpoints(NAME, 1, {"next": None})
    assert mongo_database["chunks"].count_documents({}) == 0
    assert store.load_checkpoint(NAME) == made(3, 1)


def test_what_makes_the_document_too_large_is_stored_elsewhere(
    store, mongo_database, mongo_to_kill
):
    store.save_checkpoints(NAME, 1, {"serving": made(1)})
    with mongo_to_kill.failing("findAndModify", errorCode=10334):
        store.save_checkpoints(NAME, 1, {"serving": made(2), "next": made(3)})
    assert mongo_database["chunks"].count_documents({}) == 2
    assert store.load_checkpoint(NAME) == made(2, 1)
    assert store.load_checkpoint(NAME, "next") == made(3, 1)
    with (
        mongo_to_kill.failing("findAndModify", times=2, errorCode=17419),
        pytest.raises(NotStorable, match="16 MB"),
    ):
        store.save_checkpoints(NAME, 1, {"serving": made(4)})
    assert store.load_checkpoint(NAME) == made(2, 1)


def test_many_values_that_are_saved_at_once_are_stored_elsewhere(store, mongo_database):
    state = bytes(INLINE - 1000)
    slots = {f"slot {n}": made(n, 1, state) for n in range(30)}
    store.save_checkpoints(NAME, 1, slots)
    assert all(store.load_checkpoint(NAME, slot) == one for slot, one in slots.items())
    assert 10 < mongo_database["chunks"].count_documents({}) < 20


@pytest.mark.parametrize(
    "damage",
    [
        lambda chunks, name: chunks.delete_one({"_id": name}),
        lambda chunks, name: chunks.update_one({"_id": name}, {"$set": {"data": b"less"}}),
    ],
)
def test_a_large_one_that_is_damaged_is_named(store, mongo_database, damage):
    store.save_checkpoints(NAME, 1, {"serving": made(1, 1, LARGE)})
    damage(mongo_database["chunks"], mongo_database["chunks"].find_one()["_id"])
    with pytest.raises(CorruptStore, match="balances in serving"):
        store.load_checkpoint(NAME)
    store.save_checkpoints(NAME, 1, {"serving": made(2)})
    assert store.load_checkpoint(NAME) == made(2, 1)


@pytest.mark.parametrize("forwarded", [True, False])
def test_a_save_that_is_lost_once_is_sent_once_more(store, far_store, proxy, forwarded):
    proxy.rules = [(UPDATE, forwarded)]
    far_store.save_checkpoints(NAME, 1, {"serving": made(2)})
    assert proxy.rules == []
    assert store.load_checkpoint(NAME) == made(2, 1)


@pytest.mark.parametrize("forwarded", [True, False])
@pytest.mark.parametrize("state", [b"", LARGE])
def test_a_save_that_stays_lost_has_an_unknown_outcome(store, far_store, proxy, forwarded, state):
    with lost(proxy, b"$unset", forwarded):  # of the update that stores it
        error = unavailable(far_store.save_checkpoints, NAME, 1, {"serving": made(2, 1, state)})
        assert error.outcome_unknown
    assert store.load_checkpoint(NAME) == (made(2, 1, state) if forwarded else made(1, 1))
    store.save_checkpoints(NAME, 1, {"serving": made(2, 1, state)})
    assert store.load_checkpoint(NAME) == made(2, 1, state)


def test_a_large_save_that_is_sent_again_to_a_server_that_forgot_it_is_stored(
    store, mongo_url, open_mongo, mongo_to_kill, proxy
):
    """Its value is no longer on the list then, for the entry points at it."""
    far_store = open_mongo(far_url(mongo_url, proxy), timeout=30)
    far_store.save_checkpoints(NAME, 1, {"serving": made(1)})

    def restart():
        eventually(lambda: store.load_checkpoint(NAME) == made(2, 1, LARGE), timeout=20)
        mongo_to_kill.kill()
        mongo_to_kill.start()

    saving = threading.Thread(
        target=far_store.save_checkpoints, args=(NAME, 1, {"serving": made(2, 1, LARGE)})
    )
    with lost(proxy, b"$unset", forwarded=True):
        saving.start()
        restart()
    saving.join(30)
    assert not saving.is_alive()
    far_store.save_checkpoints(NAME, 1, {"next": made(3)})
    assert store.load_checkpoint(NAME) == made(2, 1, LARGE)
    far_store.close()


@pytest.mark.parametrize(("needle", "forwarded"), [(UPDATE, True), (b"chunks", False)])
def test_a_large_save_lost_before_it_is_pointed_at_is_known_not_to_be_stored(
    store, far_store, proxy, needle, forwarded
):
    with lost(proxy, needle, forwarded):
        error = unavailable(far_store.save_checkpoints, NAME, 1, {"serving": made(2, 1, LARGE)})
        assert not error.outcome_unknown
    assert store.load_checkpoint(NAME) == made(1, 1)


def test_a_save_that_a_majority_does_not_confirm_has_an_unknown_outcome(store, mongo_to_kill):
    store.save_checkpoints(NAME, 1, {"serving": made(1)})
    late = {"code": 64, "codeName": "WriteConcernTimeout", "errmsg": "waiting timed out"}
    with mongo_to_kill.failing("findAndModify", writeConcernError=late):
        error = unavailable(store.save_checkpoints, NAME, 1, {"serving": made(2)})
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
    store.save_checkpoints(NAME, 1, {"serving": made(1)})
    with mongo_to_kill.stepped_down(1):
        error = unavailable(hasty.save_checkpoints, NAME, 1, {"serving": made(2)})
        assert not error.outcome_unknown
        assert "primary" in str(error)
    eventually(lambda: is_reached(store.load_checkpoint, NAME))
    assert store.load_checkpoint(NAME) == made(1, 1)
    store.save_checkpoints(NAME, 1, {"serving": made(3)})


def test_a_closed_store_says_so_to_every_call(mongo_url):
    store = MongoStore(mongo_url)
    store.close()
    for call in calls_of(store):
        assert "closed" in str(unavailable(call))


def test_a_server_that_is_down_is_unavailable_to_every_call(
    store, mongo_to_kill, mongo_url, open_mongo
):
    store.save_checkpoints(NAME, 1, {"serving": made(1)})
    hasty = open_mongo(mongo_url, timeout=0.5)
    mongo_to_kill.kill()
    for call in calls_of(hasty):
        assert not unavailable(call).outcome_unknown
    mongo_to_kill.start()
    assert store.load_checkpoint(NAME) == made(1, 1)
    assert store.acquire_lease(NAME, "first", 5).epoch == 2


@pytest.mark.parametrize("name", ["\ud800", "a\0b", 5, None])
def test_a_name_that_cannot_be_stored_is_refused(store, mongo_database, name):
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
    assert mongo_database["checkpoints"].count_documents({}) == 0
