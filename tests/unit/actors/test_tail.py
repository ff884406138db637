"""The tail: what was committed last, without holes."""

from __future__ import annotations

from eskernel import Event, Range
from eskernel.actors.bell import Bell, Listener
from eskernel.actors.tail import KEPT, KEPT_BYTES, Tail, TailedLog
from eskernel.contracts import Commit
from eskernel.errors import ConcurrencyConflict
from eskernel_stores import MemoryStore


def commit(stream, first, *bodies):
    stream_id = ("t", stream)
    events = [
        Event(stream_id, first + index, f"kind{index % 2}", body)
        for index, body in enumerate(bodies)
    ]
    return Commit(stream_id, events, first - 1)


def sealed(one):
    store = MemoryStore()
    return one._replace(events=[event.sealed(store._pack, store._unpack) for event in one.events])


def positions(tail, after, limit=10):
    return [event.position for event in tail.after(after, limit)]


def test_events_follow_one_another_from_any_position_on():
    tail = Tail()
    tail.add([sealed(commit("a", 1, 1, 2)), sealed(commit("b", 1, 3))], [12, 13])
    assert positions(tail, 10) == [11, 12, 13]
    assert positions(tail, 11) == [12, 13]
    assert positions(tail, 10, limit=2) == [11, 12]
    assert positions(tail, 13) == []
    assert [event.payload for event in tail.after(10, 9)] == [1, 2, 3]


def test_a_hole_is_never_passed_over():
    tail = Tail()
    refused = ConcurrencyConflict(("t", "b"), 0, 1)
    commits = [sealed(commit(name, 1, name)) for name in "abc"]
    tail.add(commits, [1, refused, 3])  # another process has written position 2
    assert positions(tail, 0) == [1]
    assert positions(tail, 1) == []
    assert positions(tail, 2) == [3]


def test_the_newest_are_kept():
    tail = Tail()
    for position in range(1, KEPT + 11):
        tail.add([sealed(commit("a", position, 0))], [position])
    assert positions(tail, 0) == positions(tail, 9) == []
    assert len(positions(tail, 10, limit=KEPT + 10)) == KEPT


def test_what_is_large_is_left_to_the_store():
    tail = Tail()
    tail.add([sealed(commit("a", 1, "x" * KEPT_BYTES, "y"))], [2])
    assert positions(tail, 0) == []
    assert positions(tail, 1) == [2]


def test_reading_on_and_on_misses_nothing_wherever_the_tail_has_holes():
    store, tail = MemoryStore(), Tail()
    for first in range(1, 60, 2):
        one = sealed(commit("a", first, first, first + 1))
        last = store.append(one.stream_id, one.events, expected_sequence=one.expected_sequence)
        if first % 3:
            tail.add([one], [last])
    log = TailedLog(store, tail)
    found, reached = [], 0
    while reached < store.last_position():
        found, reached = log.fold_all(
            lambda found, event: [*found, event.payload], found, Range(reached + 1), limit=7
        )
    assert found == [*range(1, 61)]


def test_a_page_from_the_tail_is_filtered_and_says_how_far_it_looked():
    store, tail = MemoryStore(), Tail()
    tail.add([sealed(commit("a", 1, 1, 2, 3))], [3])
    log = TailedLog(store, tail)
    add = lambda total, event: total + event.payload  # noqa: E731
    assert log.fold_all(add, 0, Range(1), limit=10) == (6, 3)
    assert log.fold_all(add, 0, Range(1), limit=2) == (3, 2)
    assert log.fold_all(add, 0, Range(1), limit=10, types={"kind1"}) == (2, 3)
    assert log.fold_all(add, 0, Range(1), limit=10, aggregate_types={"other"}) == (0, 3)
    assert log.fold_all(add, 0, Range(1)) == (0, 0)  # of the store, which has nothing


def test_nothing_is_kept_while_nobody_listens():
    bell = Bell()
    one = sealed(commit("a", 1, 1))
    bell.announce([one], [1])
    assert not bell.tail.after(0, 1)
    rung = []
    listener = Listener(lambda: rung.append(1))
    bell.add(listener)
    bell.announce([one], [1])
    assert positions(bell.tail, 0) == [1]
    assert rung == [1]
