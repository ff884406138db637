"""FileStore: what it promises beyond the conformance suite."""

import json
import os
from dataclasses import dataclass
from functools import partial

import pytest
from file_store_helpers import OTHER, STREAM, add, commit, listed, log, made, payloads, segments
from support import run_threads

from eskernel.codec import Codec
from eskernel.contracts import BatchingEventStore, SnapshotStore
from eskernel.errors import ConcurrencyConflict, CorruptStore, InvalidDomain, NotStorable
from eskernel.values import Event, Range, Snapshot
from eskernel_stores.file import FileStore
from eskernel_stores.file.segment import Segments


@dataclass(frozen=True)
class Deposited:
    amount: int


@pytest.fixture
def store(tmp_path):
    opened = FileStore(tmp_path / "store")
    yield opened
    opened.close()


def test_it_is_a_store_of_batches_and_snapshots_and_not_immediate(store):
    assert isinstance(store, BatchingEventStore)
    assert isinstance(store, SnapshotStore)
    assert not hasattr(store, "immediate")


def test_an_append_is_a_line_that_a_person_can_read(store):
    event = Event(STREAM, 1, "deposited", {"amount": 100}, {"by": "Ada"}, ("vip",), 5, None, "c-1")
    store.append(STREAM, [event], expected_sequence=0, append_id=255)
    add(store, STREAM, 1, "na\u00efve", ("x", b"y"))
    first, second = segments(store._root)[0].read_text().splitlines()
    assert first[18:] == (
        '"write":1,"position":1,"stream":["bank_account","acc-1"],"sequence":1,"count":1,'
        '"append":"ff","events":[{"type":"deposited","payload":{"amount":100},"time":5,'
        '"command":"c-1","tags":["vip"],"metadata":{"by":"Ada"}}]}'
    )
    assert "na\u00efve" in second
    assert json.loads(second)["events"][1]["payload"] == {"$tuple": ["x", {"$bytes": "eQ=="}]}


def test_a_batch_is_one_write_and_one_sync(store, monkeypatch):
    calls = []
    for name in ("write", "fdatasync", "fsync"):
        real = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *a, name=name, real=real: (calls.append(name), real(*a))[1]
        )
    results = store.append_batch([commit(("a", str(n)), 0, n, n) for n in range(100)])
    assert calls == ["write", "fdatasync"]
    assert results == [*range(2, 202, 2)]
    lines = segments(store._root)[0].read_text().splitlines()
    assert [json.loads(line)["write"] for line in lines] == [1] * 100
    add(store, STREAM, 0, "next")
    assert json.loads(segments(store._root)[0].read_text().splitlines()[-1])["write"] == 201


def test_a_batch_in_which_nothing_can_be_stored_writes_nothing(store, monkeypatch):
    add(store, STREAM, 0, "a", append_id=1)
    monkeypatch.setattr(os, "write", None)
    bad = commit(OTHER, 0, object())
    again, lost, error = store.append_batch(
        [commit(STREAM, 0, "a", append_id=1), commit(STREAM, 0, "b", append_id=2), bad]
    )
    assert again == 1
    assert isinstance(lost, ConcurrencyConflict)
    assert isinstance(error, NotStorable)


def test_a_commit_that_no_line_can_hold_fails_alone(store):
    strange = [
        Event(("a", "\ud800"), 1, "t", None),
        Event(("a", "1"), 1, "t", None, {}, ("\ud800",)),
        Event(("a", "2"), 1, "t", None, {}, (object(),)),
        Event(("a", "3"), 1, b"t", None).sealed(Codec().pack, Codec().unpack),
    ]
    for event in strange[:3]:
        fine, failed = store.append_batch(
            [
                commit(("fine", repr(event)), 0, "x"),
                commit(event.stream_id, 0)._replace(events=[event]),
            ]
        )
        assert isinstance(fine, int)
        assert isinstance(failed, NotStorable)
        assert "surrogate" in str(failed) or "cannot be written" in str(failed)
    assert len(log(store)) == 3


def test_readers_of_the_store_itself_decode_the_types_it_was_given(tmp_path):
    store = FileStore(tmp_path, types=[Deposited])
    add(store, STREAM, 0, Deposited(5))
    store.store(Snapshot(STREAM, 1, Deposited(5)))
    store.close()
    store = FileStore(tmp_path)
    (event,) = store.fold(STREAM, listed, [])
    with pytest.raises(InvalidDomain):
        _ = event.payload
    assert event.read_with(Codec([Deposited]).unpack).payload == Deposited(5)
    assert store.load_latest(STREAM).read_with(Codec([Deposited]).unpack).state == Deposited(5)
    store.close()


def test_a_line_longer_than_a_segment_or_a_read_comes_back(tmp_path):
    store = FileStore(tmp_path, segment_bytes=1000)
    for number in range(3):
        add(store, STREAM, number, str(number) * 100_000)
    assert payloads(store) == [str(number) * 100_000 for number in range(3)]
    assert len(segments(tmp_path)) == 3
    store.close()


def test_reading_begins_and_ends_inside_appends(tmp_path):
    store = FileStore(tmp_path, segment_bytes=2000)
    for number in range(0, 60, 3):
        add(store, STREAM, number, *range(number, number + 3))
        add(store, OTHER, number, *range(number, number + 3))
    for start in range(0, 64, 5):
        for stop in (*range(start, 66, 7), None):
            found = [e.sequence for e in store.fold(STREAM, listed, [], Range(start, stop))]
            assert found == [n for n in range(1, 61) if Range(start, stop).contains(n)]
            both = [e.position for e in store.fold_all(listed, [], Range(start, stop))[0]]
            assert both == [n for n in range(1, 121) if Range(start, stop).contains(n)]
    store.close()


def test_a_long_stream_among_others_is_read_in_order(store):
    for number in range(0, 3000, 100):
        commits = [commit(STREAM, n, n) for n in range(number, number + 100)]
        store.append_batch([*commits, commit(("other", str(number)), 0, "x" * 5000)])
    assert payloads(store) == [*range(3000)]
    assert payloads(FreshReader(store), OTHER) == []


class FreshReader:
    """A store's fold, to show that nothing else is needed for reading."""

    def __init__(self, store):
        self.fold = store.fold


def test_a_reader_may_append_to_the_store_it_reads(store):
    add(store, STREAM, 0, "x", "y")

    def copying(count, event):
        add(store, OTHER, count, event.payload)
        return count + 1

    assert store.fold(STREAM, copying, 0) == 2
    assert payloads(store, OTHER) == ["x", "y"]
    assert store.fold_all(lambda n, event: n + 1, 0) == (4, 4)


def test_readers_see_whole_writes_while_segments_fill(tmp_path):
    store = FileStore(tmp_path, segment_bytes=1500)
    streams = [("s", str(number)) for number in range(4)]
    over = []

    def write():  # slowly, for every sync lets the readers have the interpreter
        for number in range(20):
            store.append_batch([commit(stream_id, number, number) for stream_id in streams])
        over.append(True)

    def read():
        while not over:
            found, reached = store.fold_all(lambda n, event: n + 1, 0)
            assert found == reached
            assert reached % 4 == 0
            counts = [store.fold(one, lambda n, event: n + 1, 0) for one in streams]
            assert counts[0] <= counts[-1]

    run_threads(write, read, read, timeout=60)
    assert len(segments(tmp_path)) > 5
    assert store.last_position() == 80
    store.close()


def test_more_segments_than_are_kept_open_can_be_read_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("eskernel_stores.file.segment._OPEN", 3)
    monkeypatch.setattr(os, "fdatasync", lambda fd: None)
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    store = FileStore(tmp_path, segment_bytes=1)
    for number in range(20):
        add(store, STREAM, number, number)

    def check():
        for _ in range(10):
            assert payloads(store) == [*range(20)]

    run_threads(check, check, check)
    assert len(store._segments._handles) <= 5
    store.close()


def test_a_reader_in_the_midst_of_a_fold_outlives_closing(store):
    add(store, STREAM, 0, "a")
    add(store, STREAM, 1, "b")

    def closing(found, event):
        store.close()
        return [*found, event.payload]

    assert store.fold(STREAM, closing, []) == ["a", "b"]


def test_an_append_in_the_place_of_another_is_corrupt(store):
    add(store, STREAM, 0, "a", append_id=1)
    add(store, OTHER, 0, "b")
    path = segments(store._root)[0]
    data = path.read_bytes()
    first, second = data.splitlines(keepends=True)
    path.write_bytes(second.ljust(len(first)) + second)
    with pytest.raises(CorruptStore) as caught:
        payloads(store)
    assert (caught.value.stream_id, caught.value.sequence) == (STREAM, 1)
    with pytest.raises(CorruptStore):
        add(store, STREAM, 0, "a", append_id=1)
    path.write_bytes(data)
    assert payloads(store) == ["a"]


def test_entering_a_segment_twice_is_harmless():
    found = Segments()
    segment = partial(tuple.__new__, type("S", (tuple,), {"base": 0}))
    found.add(segment())
    found.add(segment())
    assert len(found._all) == 1


def test_open_and_sealed_events_are_stored_alike(store):
    codec = Codec()
    event = Event(STREAM, 1, "happened", {"n": 1}, {"user": "Ada"}, ("vip",), 5, None, "c-1")
    store.append(STREAM, [event], expected_sequence=0)
    moved = event._replace(stream_id=OTHER).sealed(codec.pack, codec.unpack)
    store.append(OTHER, [moved], expected_sequence=0)
    first, second = store.fold_all(listed, [])[0]
    assert first[1:8] == second[1:8]
    assert made(STREAM, 0, 1)[0].stream_id == first.stream_id
