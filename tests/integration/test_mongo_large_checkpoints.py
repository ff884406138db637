"""Large checkpoints in MongoDB, which are kept in pieces beside their document."""

from functools import partial

import pytest
from mongo_helpers import LARGE, NAME, checkpoint
from support import run_threads

from eskernel.errors import CorruptStore, NotStorable, StaleEpoch
from eskernel_stores.mongo.large import INLINE


@pytest.fixture
def store(mongo_url, open_mongo):
    return open_mongo(mongo_url)


@pytest.fixture
def other(mongo_url, open_mongo):
    """Another store of the same checkpoints, as another process would have."""
    return open_mongo(mongo_url)


def test_one_may_be_larger_than_a_document(store, mongo_database):
    huge = checkpoint(1, 1, bytes(17 << 20))
    store.save_checkpoints(NAME, 1, {"serving": huge, "next": checkpoint(2, 1, LARGE)})
    assert store.load_checkpoint(NAME) == huge
    assert store.load_checkpoint(NAME, "next") == checkpoint(2, 1, LARGE)
    assert mongo_database["chunks"].count_documents({}) == 7
    store.save_checkpoints(NAME, 1, {"serving": checkpoint(3), "next": checkpoint(3, 1, LARGE)})
    assert mongo_database["chunks"].count_documents({}) == 2
    store.save_checkpoints(NAME, 1, {"next": None})
    assert mongo_database["chunks"].count_documents({}) == 0
    assert store.load_checkpoint(NAME) == checkpoint(3, 1)


def test_what_makes_the_document_too_large_is_stored_elsewhere(
    store, mongo_database, mongo_to_kill
):
    store.save_checkpoints(NAME, 1, {"serving": checkpoint(1)})
    with mongo_to_kill.failing("findAndModify", errorCode=10334):
        store.save_checkpoints(NAME, 1, {"serving": checkpoint(2), "next": checkpoint(3)})
    assert mongo_database["chunks"].count_documents({}) == 2
    assert store.load_checkpoint(NAME) == checkpoint(2, 1)
    assert store.load_checkpoint(NAME, "next") == checkpoint(3, 1)
    with (
        mongo_to_kill.failing("findAndModify", times=2, errorCode=17419),
        pytest.raises(NotStorable, match="16 MB"),
    ):
        store.save_checkpoints(NAME, 1, {"serving": checkpoint(4)})
    assert store.load_checkpoint(NAME) == checkpoint(2, 1)


def test_many_values_that_are_saved_at_once_are_stored_elsewhere(store, mongo_database):
    state = bytes(INLINE - 1000)
    slots = {f"slot {n}": checkpoint(n, 1, state) for n in range(30)}
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
    store.save_checkpoints(NAME, 1, {"serving": checkpoint(1, 1, LARGE)})
    damage(mongo_database["chunks"], mongo_database["chunks"].find_one()["_id"])
    with pytest.raises(CorruptStore, match="balances in serving"):
        store.load_checkpoint(NAME)
    store.save_checkpoints(NAME, 1, {"serving": checkpoint(2)})
    assert store.load_checkpoint(NAME) == checkpoint(2, 1)


def test_stores_that_replace_large_ones_leave_no_chunks_behind(store, other, mongo_database):
    def save(one, slot):
        for position in range(10):
            state = LARGE if (position + slot) % 2 else b""
            one.save_checkpoints(NAME, 1, {f"slot {slot}": checkpoint(position, state=state)})

    run_threads(*(partial(save, (store, other)[slot % 2], slot) for slot in range(4)))
    for slot in range(4):
        found = store.load_checkpoint(NAME, f"slot {slot}")
        assert found == checkpoint(9, 1, b"" if slot % 2 else LARGE)
    assert mongo_database["chunks"].count_documents({}) == 4


def test_who_was_taken_over_leaves_no_chunks(store, other, mongo_database):
    epoch = store.acquire_lease(NAME, "here", 0).epoch
    store.save_checkpoints(NAME, epoch, {"serving": checkpoint(1)})
    other.acquire_lease(NAME, "there", 600)
    with pytest.raises(StaleEpoch):
        store.save_checkpoints(NAME, epoch, {"serving": checkpoint(2, state=LARGE)})
    assert store.load_checkpoint(NAME) == checkpoint(1, epoch)
    assert mongo_database["chunks"].count_documents({}) == 0
