"""Events in MongoDB: the chain that many stores append to, what is refused, and what is damaged."""

from contextlib import contextmanager

import pytest
from sql_helpers import (
    OTHER,
    STREAM,
    append,
    every_call_unavailable,
    listed,
    log,
    logged,
    made,
    payloads,
    unavailable,
)
from support import eventually, run_threads

from eskernel.contracts import Commit
from eskernel.errors import ConcurrencyConflict, CorruptStore, NotStorable
from eskernel.values import Range
from eskernel_stores.mongo import reading, turns, writing

MEGABYTE = 2**20


@pytest.fixture
def store(mongo_url, open_mongo):
    return open_mongo(mongo_url)


@pytest.fixture
def other(mongo_url, open_mongo):
    """Another store of the same database, as another process would have it."""
    return open_mongo(mongo_url)


@pytest.fixture
def events(mongo_database):
    """The collection, as anybody with a client sees it."""
    return mongo_database["events"]


def conflict(function):
    """Return the numbers of the conflict that a call raises."""
    with pytest.raises(ConcurrencyConflict) as caught:
        function()
    return caught.value.expected, caught.value.actual


def send(store, expected, *payloads, stream_id=STREAM, append_id=None):
    return store.append(
        stream_id,
        made(stream_id, expected, *payloads),
        expected_sequence=expected,
        append_id=append_id,
    )


def commit(stream_id, expected, *payloads):
    return Commit(stream_id, made(stream_id, expected, *payloads), expected)


def positions(store):
    return [event.position for event in log(store)]


@contextmanager
def before_insert(store, number, act):
    """Have something happen before a store sends an insert, counted from 1."""
    insert = store._chain._insert
    count = 0

    def counting(documents):
        nonlocal count
        count += 1
        if count == number:
            act()
        return insert(documents)

    store._chain._insert = counting
    try:
        yield
    finally:
        store._chain._insert = insert
    assert count >= number


def test_an_append_is_a_document_that_people_can_read(store, events):
    append(store, OTHER, "before")
    append(store, STREAM, "a", {"amount": 5})
    first, second = events.find().sort("_id", 1)
    assert (first["_id"], second["_id"]) == (1, 2)
    assert (second["aggregate_type"], second["aggregate_id"]) == STREAM
    assert (second["sequence"], second["count"]) == (1, 2)
    assert [part["type"] for part in second["events"]] == ["happened", "happened"]


def test_racing_stores_leave_no_hole_lose_nothing_and_hide_nothing(
    store, other, mongo_url, open_mongo
):
    """Sixteen threads of two stores add to shared streams while a third store pages through."""
    reader = open_mongo(mongo_url)
    streams = [("shared", str(number)) for number in range(4)]
    each = 6
    seen = []

    def write(number):
        mine, name = (store, other)[number % 2], streams[number // 2 % 4]
        for link in range(each):
            while True:
                at = mine.fold(name, lambda at, _: at + 1, 0)
                try:
                    send(mine, at, (number, link), None, stream_id=name)
                    break
                except ConcurrencyConflict as error:
                    assert error.actual > error.expected

    def read():
        reached, last = 0, 16 * each * 2
        while reached < last:
            _, reached = reader.fold_all(listed, seen, Range(reached + 1))

    run_threads(*[lambda n=n: write(n) for n in range(16)], read, timeout=100)
    assert [event.position for event in seen] == [*range(1, 16 * each * 2 + 1)]
    assert seen == log(store)
    won = [event.payload for event in seen if event.payload]
    assert sorted(won) == [(number, link) for number in range(16) for link in range(each)]
    for name in streams:
        of_stream = [event for event in seen if event.stream_id == name]
        assert [event.sequence for event in of_stream] == [*range(1, 8 * each + 1)]


def test_a_store_that_never_pauses_lets_another_append(store, other, events):
    finished = []

    def hurry():
        sequence = 0
        while not finished:
            send(store, sequence, "x", stream_id=("t", "busy"))
            sequence += 1

    def take_turns():
        for sequence in range(5):
            send(other, sequence, "y")
        finished.append(True)

    run_threads(hurry, take_turns, timeout=100)
    assert payloads(store) == ["y"] * 5
    assert events.database["waiting"].count_documents({}) == 0
    assert positions(store) == [*range(1, len(positions(store)) + 1)]


def test_who_waits_too_often_is_let_go_first_and_a_dead_one_only_once(store, monkeypatch):
    monkeypatch.setattr(turns, "PATIENCE", 30)
    busy, waiting = (turns.Turns(store._database) for _ in range(2))
    assert not busy.wait()
    for _ in range(turns.REFUSALS):
        waiting.lost()
    busy.lost()  # so it looks for others
    let_go, looks = [], []
    others = busy._others
    monkeypatch.setattr(busy, "_others", lambda: looks.append(1) or others())
    run_threads(
        lambda: let_go.append(busy.wait()),
        lambda: eventually(lambda: len(looks) > 1) and waiting.won(),
    )
    assert let_go == [True]
    assert not busy.wait()
    for _ in range(turns.REFUSALS):
        waiting.lost()  # and dies
    monkeypatch.setattr(turns, "PATIENCE", 0)
    assert busy.wait()
    assert not busy.wait()


def test_an_append_sent_again_is_found_whoever_sends_it(store, other):
    append(store, OTHER, "before")
    first = send(store, 0, "a", "b", append_id=7)
    assert first == 3
    assert send(other, 0, "a", "b", append_id=7) == first
    send(other, 2, "c", append_id=8)
    assert send(store, 0, "a", "b", append_id=7) == first
    assert send(store, 2, "c", append_id=8) == 4
    assert conflict(lambda: send(store, 0, "a", "b", append_id=8)) == (0, 3)
    assert conflict(lambda: send(store, 0, "a", append_id=7)) == (0, 3)
    assert payloads(store) == ["a", "b", "c"]
    assert positions(store) == [1, 2, 3, 4]


def test_what_another_store_appended_is_a_conflict_and_then_no_more(store, other):
    send(store, 0, "a", "b")
    send(other, 2, "c", "d")
    send(other, 0, "x", stream_id=OTHER)
    assert conflict(lambda: send(store, 2, "lost")) == (2, 4)
    assert conflict(lambda: send(store, 0, "lost", stream_id=OTHER)) == (0, 1)
    send(other, 4, "e")
    send(store, 5, "f")
    assert payloads(store) == ["a", "b", "c", "d", "e", "f"]
    assert positions(store) == [*range(1, 8)]


@pytest.mark.parametrize("expected", [1, 2, 4, 7])
def test_nothing_goes_where_no_append_ends(store, other, expected):
    send(store, 0, "a", "b", "c")
    for one in (store, other):
        assert conflict(lambda one=one: send(one, expected, "lost")) == (expected, 3)
    assert payloads(store) == ["a", "b", "c"]


def test_a_batch_into_which_others_push_keeps_its_order_and_leaves_no_hole(
    store, other, monkeypatch
):
    """Before its second document another stream's append, before the third one of its own."""
    monkeypatch.setattr(writing, "MOST_DOCUMENTS", 1)
    pushed = ("t", "pushed in")
    commits = [
        commit(STREAM, 0, "a"),
        commit(OTHER, 0, "b", "c"),
        commit(STREAM, 1, "lost"),
        commit(OTHER, 2, "d"),
        commit(STREAM, 2, "lost, too"),
    ]

    def push_in_twice():
        send(other, 0, "first", "second", stream_id=pushed)
        send(other, 1, "theirs")

    with before_insert(store, 2, push_in_twice):
        first, second, third, fourth, fifth = store.append_batch(commits)
    assert (first, second, fourth) == (1, 6, 7)
    assert [type(one) for one in (third, fifth)] == [ConcurrencyConflict] * 2
    assert (third.expected, third.actual) == (1, 2)
    assert payloads(store) == ["a", "theirs"]
    assert payloads(store, OTHER) == ["b", "c", "d"]
    assert logged(store) == ["a", "first", "second", "theirs", "b", "c", "d"]
    assert positions(store) == [*range(1, 8)]


def test_a_place_taken_by_what_no_majority_has_yet_is_tried_again(store, other, monkeypatch):
    """It is in the index of the primary, but no reader sees it, and it may vanish."""
    send(store, 0, "a")
    send(other, 1, "theirs")
    heads = [1, 1]
    head = store._chain.head
    monkeypatch.setattr(store._chain, "head", lambda name: heads.pop() if heads else head(name))
    assert conflict(lambda: send(store, 1, "lost")) == (1, 2)
    assert heads == []
    assert payloads(store) == ["a", "theirs"]


def test_who_finds_no_place_in_time_is_told_so(store):
    store._chain._timeout = -1
    error = unavailable(lambda: send(store, 0, "a"))
    assert "other appends came first" in str(error)
    assert not error.outcome_unknown
    assert logged(store) == []


def test_an_append_may_have_no_more_bytes_than_a_document(store):
    large = bytes(15 * MEGABYTE)
    too_large = [bytes(6 * MEGABYTE) for _ in range(3)]
    outcomes = store.append_batch(
        [
            commit(OTHER, 0, "before"),
            commit(STREAM, 0, "fits"),
            commit(STREAM, 1, *too_large),
            commit(STREAM, 4, "behind it"),
            commit(OTHER, 1, large),
        ]
    )
    assert [outcomes[0], outcomes[1], outcomes[4]] == [1, 2, 3]
    assert isinstance(outcomes[2], NotStorable)
    assert "MongoDB takes 16777216" in str(outcomes[2])
    assert isinstance(outcomes[3], ConcurrencyConflict)
    assert outcomes[3].actual == 1
    with pytest.raises(NotStorable, match="16777216"):
        send(store, 1, *too_large)
    assert payloads(store) == ["fits"]
    assert payloads(store, OTHER) == ["before", large]


def test_a_closed_store_says_so(store):
    append(store, STREAM, "a")
    store.close()
    store.close()
    for error in every_call_unavailable(store, 1):
        assert str(error) == "the store is closed; open it again"
        assert not error.outcome_unknown


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


def test_a_missing_append_is_named(store, other, events):
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


def test_many_stores_may_be_the_first_to_open_a_database(mongo_url, open_mongo):
    stores = []
    run_threads(*[lambda: stores.append(open_mongo(mongo_url)) for _ in range(8)])
    for number, one in enumerate(stores):
        send(one, number, number)
    assert logged(stores[0]) == [*range(8)]
