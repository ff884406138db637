"""Reading events from MongoDB: pages and cursors, what is damaged or missing, and query plans."""

import pytest
from mongo_helpers import send
from store_helpers import OTHER, STREAM, listed, log, logged, payloads

from eskernel.errors import CorruptStore
from eskernel.values import Range
from eskernel_stores.mongo import reading


@pytest.fixture
def store(mongo_url, open_mongo):
    return open_mongo(mongo_url)


@pytest.fixture
def events(mongo_database):
    """The collection, as anybody with a client sees it."""
    return mongo_database["events"]


def test_a_lost_cursor_is_replaced_where_it_was(store, events, monkeypatch):
    monkeypatch.setattr(reading, "PAGE", 3)
    for number in range(10):
        send(store, number, number)
    cursors = []
    find = reading.Reading._find

    def noting(self, start, stop):
        cursors.append(find(self, start, stop))
        return cursors[-1]

    monkeypatch.setattr(reading.Reading, "_find", noting)

    def forgetful(found, event):
        if event.payload == 4:
            number = cursors[-1].cursor_id
            events.database.command("killCursors", "events", cursors=[number])
        return [*found, event.payload]

    assert store.fold(STREAM, forgetful, []) == [*range(10)]
    assert store.fold_all(forgetful, []) == ([*range(10)], 10)
    assert len(cursors) == 4


@pytest.mark.parametrize("how", [{"errorCode": 50}, {"closeConnection": True}])
def test_a_cursor_that_fails_between_pages_is_replaced(mongo_to_kill, store, monkeypatch, how):
    """Code 50: a server counts the time that it has worked for a cursor, over all its pages."""
    monkeypatch.setattr(reading, "PAGE", 3)
    for number in range(10):
        send(store, number, number)
    for read in (payloads, logged):
        with mongo_to_kill.failing("getMore", skip=1, **how):
            assert read(store) == [*range(10)]


def test_readers_that_stop_leave_no_cursor_behind(store, monkeypatch):
    monkeypatch.setattr(reading, "PAGE", 2)
    for number in range(6):
        send(store, number, number)
    cursors = []
    find = reading.Reading._find
    monkeypatch.setattr(
        reading.Reading, "_find", lambda *args: cursors.append(find(*args)) or cursors[-1]
    )
    for read in (lambda f: store.fold(STREAM, f, []), lambda f: store.fold_all(f, [])):
        with pytest.raises(ZeroDivisionError):
            read(lambda _, event: 1 / 0)
    assert [cursor.alive for cursor in cursors] == [False, False]


def test_readers_begin_and_end_within_appends(store):
    send(store, 0, *range(4))
    send(store, 0, *range(4), stream_id=OTHER)
    send(store, 4, *range(4, 8))
    for start in range(1, 10):
        for stop in range(start, 10):
            found = store.fold(STREAM, listed, [], Range(start, stop))
            assert [event.sequence for event in found] == [*range(start, stop)]
    for start in range(1, 14):
        for limit in range(5):
            found, reached = store.fold_all(listed, [], Range(start), limit=limit)
            assert [event.position for event in found] == [*range(start, min(start + limit, 13))]
            assert reached == max(min(start + limit - 1, 12), start - 1)


def test_who_asked_beyond_the_end_misses_nothing_of_an_append_over_that_place(store):
    send(store, 0, 1, 2)
    assert store.fold_all(listed, [], Range(5)) == ([], 4)
    send(store, 2, 3, 4, 5, 6)
    found, reached = store.fold_all(listed, [], Range(5))
    assert ([event.position for event in found], reached) == ([5, 6], 6)


@pytest.mark.parametrize(
    "damage",
    [
        {"$unset": {"count": ""}},
        {"$set": {"count": 3}},
        {"$set": {"count": 0}},
        {"$set": {"count": "two"}},
        {"$pop": {"events": 1}},
        {"$unset": {"events.1.payload": ""}},
        {"$set": {"events.0": 5}},
        {"$set": {"events.0.timestamp": "now"}},
        {"$set": {"events.1.tags": 7}},
        {"$set": {"events": {}}},
    ],
)
def test_a_damaged_append_is_named(store, events, damage):
    for number in range(3):
        send(store, 2 * number, "x", "y")
    events.update_one({"sequence": 3}, damage)
    for read in (lambda: payloads(store), lambda: log(store)):
        with pytest.raises(CorruptStore, match="restore a backup") as caught:
            read()
        assert (caught.value.stream_id, caught.value.sequence) == (STREAM, 3)


def test_a_missing_append_is_named(store, events, mongo_url, open_mongo):
    other = open_mongo(mongo_url)  # remembers nothing
    for number in range(4):
        send(store, 2 * number, "x", "y")
    events.delete_one({"sequence": 3})
    for start in (1, 2, 3, 4):
        with pytest.raises(CorruptStore, match="is missing") as caught:
            other.fold(STREAM, listed, [], Range(start))
        assert (caught.value.stream_id, caught.value.sequence) == (STREAM, max(start, 3))
        with pytest.raises(CorruptStore, match=f"position {max(start, 3)} is missing"):
            log(other, start)
    assert [event.sequence for event in other.fold(STREAM, listed, [], Range(5))] == [5, 6, 7, 8]
    events.delete_one({"sequence": 1})
    with pytest.raises(CorruptStore, match="position 1 is missing"):
        log(other)


def test_an_append_that_does_not_say_whose_it_is_is_not_passed_over(store, events):
    send(store, 0, "x")
    events.update_one({}, {"$unset": {"aggregate_type": ""}})
    for types in (None, {STREAM[0]}):
        with pytest.raises(CorruptStore, match="position 1"):
            store.fold_all(listed, [], aggregate_types=types)


def test_stored_bytes_that_are_no_msgpack_are_named_when_they_are_read(store, events):
    send(store, 0, "x")
    events.update_one({}, {"$set": {"events.0.payload": b"\xc1"}})
    (event,) = log(store)
    with pytest.raises(CorruptStore):
        event.payload  # decodes it


def plan(events, **find):
    """Return the stages of the server's plan for a query, and the index it names."""
    plan = events.database.command("explain", {"find": "events", **find})
    stage = plan["queryPlanner"]["winningPlan"]
    stage = stage.get("queryPlan", stage)
    stages, index = [], None
    while stage:
        stages.append(stage["stage"])
        index = index or stage.get("indexName")
        stage = stage.get("inputStage")
    return stages, index


def test_streams_are_read_by_their_index(store, events):
    send(store, 0, "x")
    names = {"aggregate_type": STREAM[0], "aggregate_id": STREAM[1]}
    for find in (
        {"filter": {**names, "sequence": {"$gte": 1, "$lt": 9}}, "sort": {"sequence": 1}},
        {"filter": names, "sort": {"sequence": 1}},
        {"filter": names, "sort": {"sequence": -1}, "limit": 1},
        {"filter": {**names, "sequence": 1}},
    ):
        stages, index = plan(events, **find)
        assert "COLLSCAN" not in stages
        assert index == "stream"


def test_the_log_is_read_in_its_own_order(mongo, store, events):
    if mongo.can_be_killed:
        pytest.skip("SecantusDB scans the whole collection, and sorts")
    send(store, 0, "x")
    for find in (
        {"filter": {"_id": {"$gte": 1, "$lt": 9}}, "sort": {"_id": 1}},
        {"filter": {}, "sort": {"_id": 1}},
        {"filter": {}, "sort": {"_id": -1}, "limit": 1},
    ):
        assert "SORT" not in plan(events, **find)[0]
