"""Snapshots in MongoDB: how many are kept, who may store them at once, and large ones."""

import bson
import pytest
from store_helpers import OTHER, STREAM, race_processes, unavailable

from eskernel.errors import CorruptStore, NotStorable
from eskernel.values import Receipt, Snapshot
from eskernel_stores.mongo.large import INLINE
from eskernel_stores.mongo.large.updates import PATIENCE
from eskernel_stores.mongo.large.values import PIECE, LargeValues

LARGE = bytes(PIECE + 1000)


@pytest.fixture
def store(mongo_url, open_mongo):
    return open_mongo(mongo_url)


@pytest.fixture
def interleaved(store, monkeypatch):
    """Has something happen once, before large values are read or after they are written."""

    def interleaved(name, happens):
        original = getattr(LargeValues, name)

        def both(values, *arguments):
            monkeypatch.setattr(LargeValues, name, original)
            if name == "read":
                happens()
            result = original(values, *arguments)
            if name == "write":
                happens()
            return result

        monkeypatch.setattr(LargeValues, name, both)

    return interleaved


def document(mongo_database):
    return mongo_database["snapshots"].find_one({"_id": "\0".join(STREAM)})


def kept(store, mongo_database, stream_id=STREAM):
    """Return the sequences of a stream's snapshots, newest first."""
    (found,) = mongo_database["snapshots"].find({"_id": "\0".join(stream_id)})
    return [one["sequence"] for one in found["kept"]]


def wait_out_patience(mongo_database):
    """Have announced values be as old as those of a writer that was lost."""
    mongo_database["snapshots"].update_many({}, {"$inc": {"loose.$[].since": -PATIENCE - 1}})


def test_no_more_are_kept_than_asked_for(store, mongo_database):
    for sequence in (1, 2, 3, 4):
        store.store(Snapshot(STREAM, sequence, sequence), keep=3)
        store.store(Snapshot(OTHER, sequence, sequence))
    assert kept(store, mongo_database) == [4, 3, 2]
    assert kept(store, mongo_database, OTHER) == [4]
    store.store(Snapshot(STREAM, 5, 5), keep=1)
    assert kept(store, mongo_database) == [5]


def test_one_that_is_older_than_those_kept_is_not(store, mongo_database):
    for sequence in (5, 6):
        store.store(Snapshot(STREAM, sequence, sequence), keep=2)
    for state in (4, LARGE):
        store.store(Snapshot(STREAM, 4, state), keep=2)
    assert kept(store, mongo_database) == [6, 5]
    assert store.load_latest(STREAM).sequence == 6
    assert mongo_database["chunks"].count_documents({}) == 0


def test_one_of_the_same_sequence_takes_the_place_of_the_other(store, mongo_database):
    receipts = (Receipt("c-1", 1, 2), Receipt("\U0001f600", 3, 3))
    store.store(Snapshot(STREAM, 5, "old", "v1", (), 1))
    new = Snapshot(STREAM, 5, {"$new": [1]}, "$v2", receipts, 2)
    store.store(Snapshot(STREAM, 4, "older"), keep=3)
    store.store(new, keep=3)
    assert kept(store, mongo_database) == [5, 4]
    assert store.load_latest(STREAM) == new


def test_what_cannot_be_stored_leaves_what_is_there(store):
    store.store(Snapshot(STREAM, 5, "old"))
    with pytest.raises(NotStorable):
        store.store(Snapshot(STREAM, 6, object()))
    assert store.load_latest(STREAM).state == "old"


def test_an_unknown_stream_has_none(store):
    assert store.load_latest(STREAM) is None


def test_one_may_be_larger_than_a_document(store, mongo_database):
    receipts = (Receipt("c-1", 1, 2),)
    store.store(Snapshot(STREAM, 1, bytes(17 << 20), "v", receipts))
    found = store.load_latest(STREAM)
    assert (found.state, found.receipts) == (bytes(17 << 20), receipts)
    assert mongo_database["chunks"].count_documents({}) == 5
    store.store(Snapshot(STREAM, 2, LARGE))
    assert store.load_latest(STREAM).state == LARGE
    assert mongo_database["chunks"].count_documents({}) == 2
    store.store(Snapshot(STREAM, 3, "small"))
    assert store.load_latest(STREAM).state == "small"
    assert mongo_database["chunks"].count_documents({}) == 0
    assert document(mongo_database)["loose"] == []


def test_many_kept_at_once_do_not_make_the_document_too_large(store, mongo_database):
    state = bytes(INLINE - 1000)
    for sequence in range(1, 13):
        store.store(Snapshot(STREAM, sequence, state), keep=70)
    assert kept(store, mongo_database) == [*range(12, 0, -1)]
    assert store.load_latest(STREAM) == Snapshot(STREAM, 12, state)
    assert len(bson.encode(document(mongo_database))) < 10_000
    store.store(Snapshot(STREAM, 13, "small"))
    assert mongo_database["chunks"].count_documents({}) == 0


def test_what_a_lost_writer_left_is_deleted_when_it_is_certainly_lost(
    store, mongo_database, mongo_to_kill
):
    store.store(Snapshot(STREAM, 1, "old"))
    with mongo_to_kill.failing("findAndModify", skip=1, errorCode=96):
        assert not unavailable(store.store, Snapshot(STREAM, 2, LARGE)).outcome_unknown
    assert mongo_database["chunks"].count_documents({}) == 2
    store.store(Snapshot(STREAM, 3, "new"))
    assert mongo_database["chunks"].count_documents({}) == 2, "its writer may be at work"
    wait_out_patience(mongo_database)
    store.store(Snapshot(STREAM, 4, "newer"))
    assert mongo_database["chunks"].count_documents({}) == 0
    assert document(mongo_database)["loose"] == []


def test_what_could_not_be_deleted_is_left_to_the_next(store, mongo_database, mongo_to_kill):
    store.store(Snapshot(STREAM, 1, LARGE))
    with mongo_to_kill.failing("delete", errorCode=96):
        store.store(Snapshot(STREAM, 2, "new"))
    assert mongo_database["chunks"].count_documents({}) == 2
    store.store(Snapshot(STREAM, 3, "newer"))
    assert mongo_database["chunks"].count_documents({}) == 0
    assert document(mongo_database)["loose"] == []


COMMANDS = ("findAndModify", "insert", "delete", "update")


@pytest.mark.parametrize("served", range(8))
def test_whichever_command_fails_nothing_is_lost_or_left_behind(
    store, mongo_database, mongo_to_kill, served
):
    """Replacing a large value takes seven: 1 announces, 2 write, 1 points, 2 delete, 1 forgets."""
    store.store(Snapshot(STREAM, 1, LARGE))
    with mongo_to_kill.failing(*COMMANDS, skip=served, errorCode=96):
        if served < 4:
            error = unavailable(store.store, Snapshot(STREAM, 2, LARGE[1:]))
            assert not error.outcome_unknown
        else:
            store.store(Snapshot(STREAM, 2, LARGE[1:]))
    assert store.load_latest(STREAM).sequence == (1 if served < 4 else 2)
    assert store.load_latest(STREAM).state in (LARGE, LARGE[1:])
    assert (document(mongo_database)["loose"] == []) == (served in (0, 7))
    wait_out_patience(mongo_database)
    store.store(Snapshot(STREAM, 3, "new"))
    assert mongo_database["chunks"].count_documents({}) == 0
    assert document(mongo_database)["loose"] == []


def test_a_writer_given_up_for_lost_stores_nothing(store, mongo_database, interleaved):
    store.store(Snapshot(STREAM, 1, "old"))

    def another_writes():
        wait_out_patience(mongo_database)
        store.store(Snapshot(STREAM, 2, "of another"))

    interleaved("write", another_writes)
    error = unavailable(store.store, Snapshot(STREAM, 3, LARGE))
    assert not error.outcome_unknown
    assert "given up" in str(error)
    assert store.load_latest(STREAM).state == "of another"
    assert mongo_database["chunks"].count_documents({}) == 0
    store.store(Snapshot(STREAM, 3, LARGE))
    assert store.load_latest(STREAM).state == LARGE


def test_a_reader_overtaken_by_a_writer_returns_what_is_newer(store, interleaved):
    store.store(Snapshot(STREAM, 1, LARGE))
    interleaved("read", lambda: store.store(Snapshot(STREAM, 2, LARGE[1:])))
    assert store.load_latest(STREAM) == Snapshot(STREAM, 2, LARGE[1:])


@pytest.mark.parametrize(
    "damage",
    [
        lambda chunks, name: chunks.delete_one({"_id": name}),
        lambda chunks, name: chunks.update_one({"_id": name}, {"$set": {"data": b"less"}}),
    ],
)
def test_a_large_one_that_is_damaged_is_named(store, mongo_database, damage):
    store.store(Snapshot(STREAM, 7, LARGE))
    damage(mongo_database["chunks"], mongo_database["chunks"].find_one()["_id"])
    with pytest.raises(CorruptStore, match="snapshot at 7") as caught:
        store.load_latest(STREAM)
    assert (caught.value.stream_id, caught.value.sequence) == (STREAM, 7)
    store.store(Snapshot(STREAM, 7, "again"))
    assert store.load_latest(STREAM).state == "again"


def test_receipts_that_are_damaged_are_named(store, mongo_database):
    store.store(Snapshot(STREAM, 7, "state"))
    mongo_database["snapshots"].update_one({}, {"$set": {"kept.0.receipts": b"\xc1"}})
    with pytest.raises(CorruptStore, match="receipts"):
        store.load_latest(STREAM)


def test_processes_that_store_snapshots_of_one_stream_lose_none(
    mongo_url, open_mongo, mongo_database
):
    store = open_mongo(mongo_url)
    race_processes(
        4,
        f"""
        import random
        from eskernel_stores.mongo import MongoStore

        def work(index):
            rng = random.Random(index)
            with closing(MongoStore({mongo_url!r})) as store:
                for number in range(8):
                    sequence = number * 4 + rng.randrange(12)
                    state = [index, bytes(400_000 * rng.randrange(2))]
                    store.store(Snapshot(STREAM, sequence, state), keep=2)
                    assert store.load_latest(STREAM).state[0] in range(4)
                store.store(Snapshot(STREAM, 1000 + index, [index]), keep=2)
        """,
    )
    assert kept(store, mongo_database) == [1003, 1002]
    assert store.load_latest(STREAM).state == [3]
    assert mongo_database["chunks"].count_documents({}) == 0
    assert document(mongo_database)["loose"] == []
