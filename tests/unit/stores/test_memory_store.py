"""MemoryStore: what it promises beyond the conformance suite."""

import gc
from dataclasses import dataclass
from itertools import pairwise

import pytest

from eskernel.codec import Codec
from eskernel.contracts import BatchingEventStore, Commit, SnapshotStore
from eskernel.errors import ConcurrencyConflict, InvalidDomain, NotStorable
from eskernel.values import Event, Receipt, Snapshot
from eskernel_stores import MemoryStore

STREAM = ("bank_account", "acc-1")
OTHER = ("bank_account", "acc-2")


@dataclass(frozen=True)
class Deposited:
    amount: int


def made(stream_id, expected, *payloads):
    return [Event(stream_id, n, "happened", p) for n, p in enumerate(payloads, expected + 1)]


def listed(events, event):
    return [*events, event]


def payloads(store, stream_id=STREAM):
    return [event.payload for event in store.fold(stream_id, listed, [])]


def log(store):
    return [event.payload for event in store.fold_all(listed, [])[0]]


def test_it_is_an_immediate_store_of_batches_and_snapshots():
    store = MemoryStore()
    assert store.immediate
    assert isinstance(store, BatchingEventStore)
    assert isinstance(store, SnapshotStore)


class Interrupted(list):
    """A list whose first growth is cut short, as by KeyboardInterrupt in the writing thread."""

    interrupted = False

    def __iadd__(self, rows):
        if not self.interrupted:
            self.interrupted = True
            raise KeyboardInterrupt
        return super().__iadd__(rows)


class InterruptedTable(dict):
    """A table of streams whose first change is cut short."""

    interrupted = False

    def __setitem__(self, stream_id, rows):
        if not self.interrupted:
            self.interrupted = True
            raise KeyboardInterrupt
        super().__setitem__(stream_id, rows)


def append_interrupted(store, sequence, append_id):
    events = made(STREAM, sequence, "x", "y")
    with pytest.raises(KeyboardInterrupt):
        store.append(STREAM, events, expected_sequence=sequence, append_id=append_id)
    assert store._writing is not None


def interrupt_before_the_log(store, sequence=0, append_id=None):
    store._log = Interrupted(store._log)
    append_interrupted(store, sequence, append_id)


def interrupt_before_the_stream(store, sequence=0, append_id=None):
    store._streams[STREAM] = Interrupted(store._streams.get(STREAM, []))
    append_interrupted(store, sequence, append_id)


def interrupt_before_the_table(store, sequence=0, append_id=None):
    store._streams = InterruptedTable(store._streams)
    append_interrupted(store, sequence, append_id)


INTERRUPTS = [interrupt_before_the_log, interrupt_before_the_stream, interrupt_before_the_table]


@pytest.mark.parametrize("interrupt", INTERRUPTS)
def test_an_interrupted_append_is_finished_before_the_next_one(interrupt):
    store = MemoryStore()
    interrupt(store)
    store.append(OTHER, made(OTHER, 0, "z"), expected_sequence=0)
    assert store._writing is None
    assert payloads(store) == ["x", "y"]
    assert log(store) == ["x", "y", "z"]
    assert [event.position for event in store.fold_all(listed, [])[0]] == [1, 2, 3]


@pytest.mark.parametrize("interrupt", INTERRUPTS)
def test_an_interrupted_append_is_finished_before_the_log_is_read(interrupt):
    store = MemoryStore()
    interrupt(store)
    assert log(store) == ["x", "y"]
    assert payloads(store) == ["x", "y"]
    assert store.last_position() == 2


@pytest.mark.parametrize("interrupt", INTERRUPTS)
def test_an_interrupted_append_sent_again_under_its_id_is_stored_once(interrupt):
    store = MemoryStore()
    interrupt(store, append_id=7)
    again = store.append(STREAM, made(STREAM, 0, "x", "y"), expected_sequence=0, append_id=7)
    assert again == 2
    assert log(store) == payloads(store) == ["x", "y"]


def test_an_append_interrupted_when_all_is_there_is_not_stored_twice():
    store = MemoryStore()
    store.append(STREAM, made(STREAM, 0, "x", "y"), expected_sequence=0)
    store._writing = (STREAM, store._streams[STREAM][-2:])
    assert store.last_position() == 2
    assert log(store) == payloads(store) == ["x", "y"]
    store._settle()  # nothing is left to settle
    assert log(store) == ["x", "y"]


@pytest.mark.parametrize("interrupt", INTERRUPTS)
def test_an_interrupted_append_to_a_stream_with_events_is_finished_once(interrupt):
    store = MemoryStore()
    store.append(STREAM, made(STREAM, 0, "w"), expected_sequence=0)
    interrupt(store, sequence=1)
    with pytest.raises(ConcurrencyConflict) as caught:
        store.append(STREAM, made(STREAM, 1, "lost"), expected_sequence=1)
    assert caught.value.actual == 3
    assert log(store) == payloads(store) == ["w", "x", "y"]


def test_readers_of_the_store_itself_decode_the_types_it_was_given():
    store = MemoryStore(types=[Deposited])
    store.append(STREAM, made(STREAM, 0, Deposited(5)), expected_sequence=0)
    store.store(Snapshot(STREAM, 1, Deposited(5)))
    assert payloads(store) == log(store) == [Deposited(5)]
    assert store.load_latest(STREAM).state == Deposited(5)


def test_without_types_it_stores_sealed_events_and_leaves_decoding_to_the_reader():
    store, codec = MemoryStore(), Codec([Deposited])
    (event,) = made(STREAM, 0, Deposited(5))
    with pytest.raises(NotStorable):
        store.append(STREAM, [event], expected_sequence=0)
    store.append(STREAM, [event.sealed(codec.pack, codec.unpack)], expected_sequence=0)
    (found,) = store.fold(STREAM, listed, [])
    assert found.read_with(codec.unpack).payload == Deposited(5)
    with pytest.raises(InvalidDomain):
        _ = found.payload


def test_open_and_sealed_events_are_stored_alike():
    store, codec = MemoryStore(), Codec()
    event = Event(STREAM, 1, "happened", {"n": 1}, {"user": "Ada"}, ("vip",), 5, None, "c-1")
    store.append(STREAM, [event], expected_sequence=0)
    moved = event._replace(stream_id=OTHER)
    store.append(OTHER, [moved.sealed(codec.pack, codec.unpack)], expected_sequence=0)
    opened, sealed = store._log
    assert opened[1:7] == sealed[1:7]
    assert store.fold(STREAM, listed, []) == [event.at(1)]


def test_the_garbage_collector_does_not_track_what_is_stored():
    store, codec = MemoryStore(), Codec()
    metadata, tags = {"user": ["Ada"]}, ("vip", "new")
    for number in range(50):
        stream_id = ("bank_account", f"acc-{number}")
        event = Event(stream_id, 1, "happened", {"n": [number]}, metadata, tags, 5, None, "c-1")
        sealed = Event(stream_id, 2, "happened", {"n": [number]}).sealed(codec.pack, codec.unpack)
        store.append(stream_id, [event, sealed], expected_sequence=0, append_id=2**127 + number)
    gc.collect()
    gc.collect()  # the first may meet a row before the tuples in it
    assert [row for row in store._log if gc.is_tracked(row)] == []


def test_stream_and_log_share_their_rows():
    store = MemoryStore()
    store.append(STREAM, made(STREAM, 0, "x"), expected_sequence=0)
    assert store._streams[STREAM][0] is store._log[0]


def test_the_log_is_read_in_slices_without_a_seam():
    store = MemoryStore()
    for number in range(5):
        start = 501 * number
        store.append(STREAM, made(STREAM, start, *range(501)), expected_sequence=start)
    positions = [event.position for event in store.fold_all(listed, [])[0]]
    assert len(positions) == 2505
    assert all(after == before + 1 for before, after in pairwise(positions))


def test_a_reader_may_append_to_the_store_it_reads():
    store = MemoryStore()
    store.append(STREAM, made(STREAM, 0, "x", "y"), expected_sequence=0)

    def copying(count, event):
        store.append(OTHER, made(OTHER, count, event.payload), expected_sequence=count)
        return count + 1

    assert store.fold(STREAM, copying, 0) == 2
    assert payloads(store, OTHER) == ["x", "y"]
    assert store.fold_all(lambda n, event: n + 1, 0) == (4, 4)


def test_a_refused_append_leaves_no_empty_stream_behind():
    store = MemoryStore()
    for events in ([], made(STREAM, 1, "x"), made(STREAM, 0, object())):
        with pytest.raises((ValueError, NotStorable)):
            store.append(STREAM, events, expected_sequence=0)
    with pytest.raises(ConcurrencyConflict):
        store.append(STREAM, made(STREAM, 4, "x"), expected_sequence=4)
    assert store._streams == {}


def test_a_broken_chain_says_where_the_stream_is():
    store = MemoryStore()
    store.append(STREAM, made(STREAM, 0, "x"), expected_sequence=0)
    results = store.append_batch(
        [Commit(STREAM, made(STREAM, n, "late"), n) for n in (0, 1)]
        + [Commit(OTHER, made(OTHER, 0, "fine"), 0)]
    )
    assert [(error.expected, error.actual) for error in results[:2]] == [(0, 1), (1, 1)]
    assert results[2] == 2


def test_no_more_snapshots_are_kept_than_asked_for():
    store = MemoryStore()
    for sequence in (1, 2, 3, 4):
        store.store(Snapshot(STREAM, sequence, sequence), keep=3)
    assert [kept.sequence for kept in store._snapshots[STREAM]] == [2, 3, 4]
    store.store(Snapshot(STREAM, 1, 1), keep=2)
    assert [kept.sequence for kept in store._snapshots[STREAM]] == [3, 4]


def test_a_snapshot_keeps_its_receipts_and_decodes_afresh():
    store = MemoryStore()
    snapshot = Snapshot(STREAM, 2, {"n": [1]}, "v1", (Receipt("c-1", 1, 2),), 5)
    store.store(snapshot)
    store.load_latest(STREAM).state["n"].append(2)
    assert store.load_latest(STREAM) == snapshot


def test_events_can_be_read_after_closing():
    store = MemoryStore()
    store.append(STREAM, made(STREAM, 0, "x"), expected_sequence=0)
    store.close()
    assert payloads(store) == ["x"]
