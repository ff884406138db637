"""Events in MongoDB: the chain that many stores append to, and what is refused."""

from contextlib import contextmanager

import pytest
from mongo_helpers import send
from store_helpers import (
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
from eskernel.errors import ConcurrencyConflict, NotStorable
from eskernel.values import Range
from eskernel_stores.mongo import MongoStore, turns, writing

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
    head = store._chain.streams.head
    streams = store._chain.streams
    monkeypatch.setattr(streams, "head", lambda name: heads.pop() if heads else head(name))
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


def test_many_stores_may_be_the_first_to_open_a_database(mongo_url, open_mongo):
    stores = []
    run_threads(*[lambda: stores.append(open_mongo(mongo_url)) for _ in range(8)])
    for number, one in enumerate(stores):
        send(one, number, number)
    assert logged(stores[0]) == [*range(8)]


def test_a_collection_of_somebody_elses_is_refused_and_left_alone(mongo, mongo_url):
    with mongo.client() as client:
        foreign = client[mongo_url.rpartition("/")[2]]["events"]
        foreign.insert_one({"name": "a concert"})
        assert "no appends; name another database" in str(unavailable(MongoStore, mongo_url))
        assert [*foreign.index_information()] == ["_id_"]
