"""Snapshots in JetStream: how many are kept, large ones, races, and deaths at each request."""

import asyncio
from contextlib import closing
from functools import partial
from itertools import product

import pytest
from jetstream_buckets import Died, chunks_of, die_at, key_values, publish, purge, subjects_of
from support import run_threads

from eskernel.contracts import SnapshotStore
from eskernel.errors import CorruptStore, NotStorable
from eskernel.values import Receipt, Snapshot
from eskernel_stores.jetstream import JetStreamStore
from eskernel_stores.jetstream.buckets.records import Record, pack, packed, unpacked

STREAM = ("bank_account", "acc-1")
KEY = "bank_account.acc-1"
OTHER = ("bank_account", "acc-2")
MB = 1 << 20


@pytest.fixture
def store(nats_url):
    with closing(JetStreamStore(nats_url)) as store:
        yield store


@pytest.fixture
def other(nats_url, store):
    """Another store of the same snapshots, as another process would have."""
    with closing(JetStreamStore(nats_url)) as other:
        yield other


def kept(url, key=KEY):
    """Return the sequences of a stream's snapshots, lowest first."""
    entry = key_values(url, "snapshots", lambda bucket: bucket.get(key))
    return sorted(part.number for part in unpacked(entry.value, key).parts)


def large(sequence, size=600_000):
    """Return a snapshot that does not fit into a record, and tells its sequence everywhere."""
    return Snapshot(STREAM, sequence, sequence.to_bytes(8) * (size // 8))


def require_whole(snapshot):
    assert snapshot.state == snapshot.sequence.to_bytes(8) * (len(snapshot.state) // 8)


def test_it_is_a_store_of_snapshots(store):
    assert isinstance(store, SnapshotStore)


def test_no_more_are_kept_than_asked_for(nats_url, store):
    for sequence in (1, 2, 3, 4):
        store.store(Snapshot(STREAM, sequence, sequence), keep=3)
        store.store(Snapshot(OTHER, sequence, sequence))
    assert kept(nats_url) == [2, 3, 4]
    assert kept(nats_url, "bank_account.acc-2") == [4]
    store.store(Snapshot(STREAM, 5, 5), keep=1)
    assert kept(nats_url) == [5]


def test_one_that_is_older_than_those_kept_is_not(nats_url, store):
    for sequence in (5, 6):
        store.store(Snapshot(STREAM, sequence, sequence), keep=2)
    store.store(Snapshot(STREAM, 4, 4), keep=2)
    assert kept(nats_url) == [5, 6]


@pytest.mark.parametrize("size", [1, 5, 30])
def test_one_may_be_larger_than_a_message(nats_url, store, other, size):
    receipts = (Receipt("c-1", 1, 2), Receipt("\U0001f600", 3, 3))
    state = bytes(range(256)) * (size * MB // 256)
    store.store(Snapshot(STREAM, 7, state, "v1", receipts, 5))
    found = other.load_latest(STREAM)
    assert found.state == state
    assert (found.sequence, *found[3:6]) == (7, "v1", receipts, 5)
    assert len(subjects_of(nats_url, "snapshots")) == 1 + -(-(size * MB + 1) // (MB - 512))


def test_chunks_of_one_that_is_replaced_are_purged(nats_url, store):
    store.store(large(1))
    (first,) = chunks_of(nats_url, "snapshots")
    store.store(large(2))
    (second,) = chunks_of(nats_url, "snapshots")
    assert first != second
    store.store(Snapshot(STREAM, 3, "small"))
    assert subjects_of(nats_url, "snapshots") == {KEY: 1}


def test_chunks_of_those_that_are_kept_stay(nats_url, store):
    for sequence in (3, 1, 2, 4, 6, 5):
        store.store(large(sequence), keep=2)
        require_whole(store.load_latest(STREAM))
    assert kept(nats_url) == [5, 6]
    assert len(chunks_of(nats_url, "snapshots")) == 2


def test_some_are_kept_in_the_record_as_long_as_they_fit(nats_url, store):
    sizes = {1: 100_000, 2: 400_000, 3: 200_000, 4: 100_000}
    for sequence, size in sizes.items():
        store.store(large(sequence, size), keep=4)
    assert kept(nats_url) == [1, 2, 3, 4]
    assert len(chunks_of(nats_url, "snapshots")) == 1
    for sequence in (4, 3, 2, 1):
        require_whole(store.load_latest(STREAM))
        assert len(store.load_latest(STREAM).state) == sizes[sequence]
        _forget_latest(nats_url)


def _forget_latest(url):
    entry = key_values(url, "snapshots", lambda bucket: bucket.get(KEY))
    record = unpacked(entry.value, KEY)
    publish(url, "snapshots", KEY, packed(record._replace(parts=record.parts[1:])))


def test_one_of_all_the_messages_a_batch_can_have_is_stored_and_a_larger_one_refused(
    nats_url, store
):
    store._service.connection._wires.max_payload = 2048
    most = 999 * (2048 - 512) - 100
    store.store(large(8, most))
    assert len(subjects_of(nats_url, "snapshots")) == 1000
    require_whole(store.load_latest(STREAM))
    with pytest.raises(NotStorable, match=f"takes {1000 * (2048 - 512)} bytes, in 1000 messages"):
        store.store(large(9, most + 200))
    assert store.load_latest(STREAM).sequence == 8
    assert len(subjects_of(nats_url, "snapshots")) == 1000


def test_a_death_at_any_request_leaves_the_old_or_the_new(nats_url, other):
    for number, done in product(range(4), (False, True)):  # read, purge, batch, purge
        other.store(large(1))
        with closing(JetStreamStore(nats_url)) as first:
            die_at(first, 2, done=False)  # so that chunks are left behind
            with pytest.raises(Died):
                first.store(large(2))
        with closing(JetStreamStore(nats_url)) as second:
            die_at(second, number, done=done)
            with pytest.raises(Died):
                second.store(large(3))
        found = other.load_latest(STREAM)
        require_whole(found)
        assert found.sequence == (3 if (number, done) >= (2, True) else 2), (number, done)
        other.store(large(4))
        assert kept(nats_url) == [4]
        assert len(chunks_of(nats_url, "snapshots")) == 1, (number, done)
        key_values(nats_url, "snapshots", lambda bucket: bucket.delete(KEY))


def test_whoever_reads_while_large_ones_are_replaced_finds_a_whole_one(nats_url, store, other):
    store.store(large(1))
    writing = [True]

    def write():
        try:
            for sequence in range(2, 30):
                store.store(large(sequence))
        finally:
            writing.clear()

    def read():
        newest = 0
        while writing:
            found = other.load_latest(STREAM)
            require_whole(found)
            assert found.sequence >= newest
            newest = found.sequence

    run_threads(write, read, read)
    assert other.load_latest(STREAM).sequence == 29
    assert len(chunks_of(nats_url, "snapshots")) == 1


def test_one_that_is_replaced_while_its_chunks_are_read_is_read_anew(store, other):
    store.store(large(1))
    page = other._service.connection.page

    async def late(*arguments):
        other._service.connection.page = page
        await asyncio.to_thread(store.store, large(2))
        return await page(*arguments)

    other._service.connection.page = late
    found = other.load_latest(STREAM)
    require_whole(found)
    assert found.sequence == 2


def test_none_is_lost_when_stores_race(nats_url, store, other):
    def write(one, first):
        for sequence in range(first, 41, 4):
            one.store(large(sequence, 600_000 if sequence % 3 == 0 else 8), keep=100)

    run_threads(*(partial(write, (store, other)[first % 2], first) for first in (1, 2, 3, 4)))
    assert kept(nats_url) == [*range(1, 41)]
    assert len(chunks_of(nats_url, "snapshots")) == 13
    store.store(large(50))
    assert kept(nats_url) == [50]
    assert len(chunks_of(nats_url, "snapshots")) == 1


def test_chunks_are_asked_of_the_leader_if_a_replica_lags(nats_url, store, other):
    store.store(large(1, 3 * MB))
    whole = other._service.connection.page

    async def lagging(*arguments):
        return (await whole(*arguments))[:1] if arguments[1] == 1 else []

    other._service.connection.page = lagging
    require_whole(other.load_latest(STREAM))


def test_one_whose_chunks_are_missing_is_damaged(nats_url, store):
    store.store(large(1, 3 * MB))
    (chunks,) = chunks_of(nats_url, "snapshots")
    purge(nats_url, "snapshots", f"{chunks}.1")
    with pytest.raises(CorruptStore, match=f"chunks of key {KEY}"):
        store.load_latest(STREAM)
    store.store(large(2))
    require_whole(store.load_latest(STREAM))
    assert len(chunks_of(nats_url, "snapshots")) == 1


def test_a_damaged_record_is_neither_read_nor_replaced_until_it_is_deleted(nats_url, store):
    for damaged in (b"\xc1", b"\x01", pack([99, [], []])):
        store.store(large(1))
        publish(nats_url, "snapshots", KEY, damaged)
        with pytest.raises(CorruptStore, match=KEY):
            store.load_latest(STREAM)
        with pytest.raises(CorruptStore, match=KEY):
            store.store(Snapshot(STREAM, 2, "state"))
        key_values(nats_url, "snapshots", lambda bucket: bucket.delete(KEY))
        assert store.load_latest(STREAM) is None
        store.store(Snapshot(STREAM, 1, "state"))
        assert store.load_latest(STREAM).state == "state"
        assert subjects_of(nats_url, "snapshots") == {KEY: 1}


def test_a_damaged_snapshot_is_told_with_its_stream_and_sequence(nats_url, store):
    store.store(Snapshot(STREAM, 7, "state"))
    entry = key_values(nats_url, "snapshots", lambda bucket: bucket.get(KEY))
    (part,) = unpacked(entry.value, KEY).parts
    for value in (b"\xc1", pack([1]), pack(["v", 5, 0, b""])):
        publish(nats_url, "snapshots", KEY, packed(Record((part._replace(value=value),))))
        with pytest.raises(CorruptStore) as raised:
            store.load_latest(STREAM)
        assert (raised.value.stream_id, raised.value.sequence) == (STREAM, 7)


def test_other_programs_find_them_in_a_bucket_of_keys_and_values(nats_url, store):
    store.store(Snapshot(STREAM, 1, "state"))
    store.store(Snapshot(("t", "a/b"), 1, "state"))
    keys = key_values(nats_url, "snapshots", lambda bucket: bucket.keys())
    assert sorted(keys) == [KEY, "t.a=2Fb"]
    key_values(nats_url, "snapshots", lambda bucket: bucket.purge(KEY))
    assert store.load_latest(STREAM) is None
    store.store(Snapshot(STREAM, 2, "state"))
    assert store.load_latest(STREAM).sequence == 2


def test_chunks_of_whoever_was_faster_stay_when_all_others_are_purged(nats_url, store, other):
    store.store(large(1))
    key_values(nats_url, "snapshots", lambda bucket: bucket.delete(KEY))
    ask = other._service.connection.ask

    async def late(subject, body=None):
        if "PURGE" in subject:
            other._service.connection.ask = ask
            await asyncio.to_thread(store.store, large(2))
        return await ask(subject, body)

    other._service.connection.ask = late
    other.store(large(3), keep=2)
    assert other._service.connection.ask == ask
    assert kept(nats_url) == [2, 3]
    assert len(chunks_of(nats_url, "snapshots")) == 2


def test_a_stream_that_cannot_be_named_is_refused(store):
    for stream_id in (("t", "\ud800"), ("a\0b", "1"), ("t",), ("t", 5), None):
        with pytest.raises(NotStorable):
            store.load_latest(stream_id)
        with pytest.raises(NotStorable):
            store.store(Snapshot(stream_id, 1, "state"))
