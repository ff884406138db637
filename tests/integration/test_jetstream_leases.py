"""Leases in JetStream: renewals, when they run out, and what they guard."""

import asyncio
import time
from contextlib import closing

import pytest
from jetstream_buckets import (
    NAME,
    calls_of,
    made,
    publish,
)
from support import run_threads

from eskernel.errors import CorruptStore, StaleEpoch
from eskernel_stores.jetstream import JetStreamStore
from eskernel_stores.jetstream.buckets.records import pack


@pytest.fixture
def store(nats_url):
    with closing(JetStreamStore(nats_url)) as store:
        yield store


@pytest.fixture
def other(nats_url, store):
    """Another store of the same checkpoints, as another process would have."""
    with closing(JetStreamStore(nats_url)) as other:
        yield other


def test_renewals_and_saves_do_not_hinder_each_other(store, other):
    epoch = store.acquire_lease(NAME, "here", 600).epoch
    saving = [True]

    def save():
        try:
            for position in range(60):
                store.save_checkpoints(NAME, epoch, {"serving": made(position)})
        finally:
            saving.clear()

    def renew():
        while saving:
            assert store.acquire_lease(NAME, "here", 600) == ("here", epoch, 600)

    def ask():
        while saving:
            lease = other.acquire_lease(NAME, "there", 600)
            assert (lease.owner, lease.epoch) == ("here", epoch)
            assert lease.seconds > 500

    run_threads(save, renew, ask)
    assert store.load_checkpoint(NAME) == made(59, epoch)


def test_a_lease_taken_over_between_reading_and_writing_stops_a_save(store, other):
    epoch = store.acquire_lease(NAME, "here", 0).epoch
    publish_batch = store._service.connection.publish_batch

    async def late(messages):
        store._service.connection.publish_batch = publish_batch
        await asyncio.to_thread(other.acquire_lease, NAME, "there", 600)
        return await publish_batch(messages)

    store._service.connection.publish_batch = late
    with pytest.raises(StaleEpoch):
        store.save_checkpoints(NAME, epoch, {"serving": made(1)})
    assert store.load_checkpoint(NAME) is None


def test_a_save_does_not_prolong_a_lease(store, other):
    epoch = store.acquire_lease(NAME, "first", 0.3).epoch
    deadline = time.monotonic() + 20
    while other.acquire_lease(NAME, "second", 600).owner == "first":
        assert time.monotonic() < deadline
        store.save_checkpoints(NAME, epoch, {"serving": made(1)})
    with pytest.raises(StaleEpoch):
        store.save_checkpoints(NAME, epoch, {"serving": made(2)})


def test_a_damaged_lease_is_not_replaced_for_epochs_never_fall(nats_url, store):
    values = ([5], [99, None, 1, 0, 0], [1, None], [1, 1, 1, 1, "1"])
    store.save_checkpoints(NAME, 7, {"serving": made(1)})
    for damaged in (b"", b"\xc1", *map(pack, values)):
        publish(nats_url, "checkpoints", "balances.lease", damaged)
        for call in calls_of(store)[1:]:
            with pytest.raises(CorruptStore, match=r"balances\.lease"):
                call()
    assert store.load_checkpoint(NAME) == made(1, 7)
