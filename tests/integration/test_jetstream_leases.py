"""Leases in JetStream: who gets them in a race, when they run out, and what they guard."""

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
from sql_helpers import race_processes, run_program
from support import run_threads

from eskernel.errors import CorruptStore, StaleEpoch
from eskernel_stores.jetstream import JetStreamStore
from eskernel_stores.jetstream.records import pack


@pytest.fixture
def store(nats_url):
    with closing(JetStreamStore(nats_url)) as store:
        yield store


@pytest.fixture
def other(nats_url, store):
    """Another store of the same checkpoints, as another process would have."""
    with closing(JetStreamStore(nats_url)) as other:
        yield other


def test_eight_processes_get_the_first_lease_of_a_name_once(nats_url, store):
    said = race_processes(
        8,
        f"""
        from eskernel_stores.jetstream import JetStreamStore

        def work(index):
            with closing(JetStreamStore({nats_url!r}, timeout=30)) as store:
                for number in range(20):
                    lease = store.acquire_lease(f"name {{number}}", f"owner {{index}}", 600)
                    say(f"{{number}} {{lease.epoch}} {{lease.owner}}")
        """,
    )
    assert len(said) == 8 * 20
    told = {}
    for line in said:
        number, rest = line.split(" ", 1)
        told.setdefault(number, set()).add(rest)
    assert all(len(leases) == 1 for leases in told.values()), told
    assert all(lease.startswith("1 ") for leases in told.values() for lease in leases)


def test_eight_processes_that_hand_a_lease_on_never_share_an_epoch(nats_url, store):
    said = race_processes(
        8,
        f"""
        import time
        from eskernel_stores.jetstream import JetStreamStore

        def work(index):
            with closing(JetStreamStore({nats_url!r}, timeout=30)) as store:
                taken, deadline = 0, time.monotonic() + 60
                while taken < 3:
                    assert time.monotonic() < deadline
                    lease = store.acquire_lease("balances", f"owner {{index}}", 600)
                    if lease.owner != f"owner {{index}}":
                        continue
                    store.save_checkpoints("balances", lease.epoch, {{
                        "serving": Checkpoint(lease.epoch, "v", bytes([index]))
                    }})
                    say(lease.epoch)
                    found = store.load_checkpoint("balances")
                    assert found == (lease.epoch, "v", bytes([index]), b"", lease.epoch), found
                    store.release_lease("balances", f"owner {{index}}")
                    taken += 1
        """,
        timeout=90,
    )
    assert sorted(map(int, said)) == [*range(1, 25)]
    assert store.load_checkpoint(NAME).position == 24


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


def test_a_process_that_was_taken_over_stores_nothing(nats_url, store):
    epoch = store.acquire_lease(NAME, "here", 0).epoch
    store.save_checkpoints(NAME, epoch, {"serving": made(1)})
    said = run_program(
        f"""
        from eskernel_stores.jetstream import JetStreamStore

        with closing(JetStreamStore({nats_url!r})) as store:
            lease = store.acquire_lease("balances", "there", 600)
            store.save_checkpoints("balances", lease.epoch, {{}})
            say(lease.epoch)
        """
    )
    assert said == [str(epoch + 1)]
    with pytest.raises(StaleEpoch):
        store.save_checkpoints(NAME, epoch, {"serving": made(2)})
    assert store.load_checkpoint(NAME) == made(1, epoch)
    assert store.acquire_lease(NAME, "here", 5).owner == "there"


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


def test_leases_run_out_by_the_servers_clock(store, other, monkeypatch):
    epoch = store.acquire_lease(NAME, "first", 600).epoch
    store.save_checkpoints(NAME, epoch, {"serving": made(1)})
    monkeypatch.setattr(time, "time", lambda: 2.0**33)
    for one in (store, other):
        lease = one.acquire_lease(NAME, "second", 600)
        assert (lease.owner, lease.epoch) == ("first", epoch)
        assert 500 < lease.seconds <= 600


def test_a_save_does_not_prolong_a_lease(store, other):
    epoch = store.acquire_lease(NAME, "first", 0.3).epoch
    deadline = time.monotonic() + 20
    while other.acquire_lease(NAME, "second", 600).owner == "first":
        assert time.monotonic() < deadline
        store.save_checkpoints(NAME, epoch, {"serving": made(1)})
    with pytest.raises(StaleEpoch):
        store.save_checkpoints(NAME, epoch, {"serving": made(2)})


def test_a_lease_may_be_for_ever(store):
    assert store.acquire_lease(NAME, "first", float("inf")).seconds == float("inf")
    store.save_checkpoints(NAME, 1, {"serving": made(1)})
    assert store.acquire_lease(NAME, "second", 5) == ("first", 1, float("inf"))


def test_a_damaged_lease_is_not_replaced_for_epochs_never_fall(nats_url, store):
    values = ([5], [99, None, 1, 0, 0], [1, None], [1, 1, 1, 1, "1"])
    store.save_checkpoints(NAME, 7, {"serving": made(1)})
    for damaged in (b"", b"\xc1", *map(pack, values)):
        publish(nats_url, "checkpoints", "balances.lease", damaged)
        for call in calls_of(store)[1:]:
            with pytest.raises(CorruptStore, match=r"balances\.lease"):
                call()
    assert store.load_checkpoint(NAME) == made(1, 7)
