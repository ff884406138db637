"""Checkpoints and leases in JetStream: races, deaths at each request, and servers that fail."""

import asyncio
import time
from contextlib import closing
from functools import partial
from itertools import product
from urllib.parse import urlsplit

import pytest
from cutting_proxy import CuttingProxy
from jetstream_buckets import Died, chunks_of, die_at, key_values, publish, subjects_of
from sql_helpers import race_processes, run_program, unavailable
from support import eventually, run_threads

from eskernel.contracts import CheckpointStore
from eskernel.errors import CorruptStore, NotStorable, StaleEpoch, StoreUnavailable
from eskernel.values import Checkpoint
from eskernel_stores.jetstream import JetStreamStore, records_races
from eskernel_stores.jetstream.records import pack, packed, unpacked

NAME = "balances"
MB = 1 << 20
LARGE = ("a", "b", "c")


@pytest.fixture
def store(nats_url):
    with closing(JetStreamStore(nats_url)) as store:
        yield store


@pytest.fixture
def other(nats_url, store):
    """Another store of the same checkpoints, as another process would have."""
    with closing(JetStreamStore(nats_url)) as other:
        yield other


def made(position, epoch=0):
    return Checkpoint(position, "v1", b"\x81\xa1b\x05", b"\x90", epoch)


def large(position, epoch=0, size=600_000):
    """Return a checkpoint that does not fit into a record, and tells its position everywhere."""
    return Checkpoint(position, "v1", position.to_bytes(8) * (size // 8), b"", epoch)


def calls_of(store):
    return (
        lambda: store.load_checkpoint(NAME),
        lambda: store.save_checkpoints(NAME, 1, {"serving": made(1)}),
        lambda: store.acquire_lease(NAME, "first", 5),
        lambda: store.release_lease(NAME, "first"),
    )


def records(url):
    """Return the keys in the bucket that are neither of chunks nor of readers."""
    return {key for key in subjects_of(url, "checkpoints") if ".chunk." not in key} - {"read"}


def test_it_is_a_store_of_checkpoints(store):
    assert isinstance(store, CheckpointStore)


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


def test_stores_that_save_slots_of_their_own_lose_none(store, other):
    def save(one, slot):
        for position in range(15):
            one.save_checkpoints(NAME, 1, {slot: made(position)})

    run_threads(*(partial(save, (store, other)[slot % 2], f"slot {slot}") for slot in range(6)))
    found = [store.load_checkpoint(NAME, f"slot {slot}") for slot in range(6)]
    assert found == [made(14, 1)] * 6


def test_stores_that_replace_a_large_checkpoint_leave_no_chunks_behind(nats_url, store, other):
    def save(one, first):
        for position in range(first, 40, 4):
            new = large(position) if position % 3 else made(position)
            one.save_checkpoints(NAME, 1, {"serving": new})

    run_threads(*(partial(save, (store, other)[first % 2], first) for first in range(4)))
    store.save_checkpoints(NAME, 1, {"serving": large(99)})
    assert other.load_checkpoint(NAME) == large(99, 1)
    assert len(chunks_of(nats_url, "checkpoints")) == 1
    store.save_checkpoints(NAME, 1, {"serving": made(1)})
    assert chunks_of(nats_url, "checkpoints") == set()


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


@pytest.mark.parametrize("size", [1, 5, 30])
def test_one_may_be_larger_than_a_message(store, other, size):
    store.save_checkpoints(NAME, 1, {"serving": large(5, size=size * MB), "small": made(2)})
    assert other.load_checkpoint(NAME) == large(5, 1, size * MB)
    assert other.load_checkpoint(NAME, "small") == made(2, 1)


def test_what_an_emptied_slot_leaves_is_a_mark_without_chunks(nats_url, store):
    store.save_checkpoints(NAME, 1, {"serving": large(1), "never": None})
    store.save_checkpoints(NAME, 1, {"serving": None})
    assert store.load_checkpoint(NAME) is None
    assert subjects_of(nats_url, "checkpoints") == {
        "balances.lease": 1,
        "balances.slot.serving": 1,
        "balances.slot.never": 1,
        "read": 1,
    }
    keys = key_values(nats_url, "checkpoints", lambda bucket: bucket.keys())
    assert keys == ["balances.lease"]
    store.save_checkpoints(NAME, 1, {"serving": made(3)})
    assert store.load_checkpoint(NAME) == made(3, 1)


def test_a_death_at_any_request_leaves_all_old_or_all_new(nats_url, other):
    for number, done in product(range(8), (False, True)):  # read, 3 purges, batch, 3 purges
        name = f"{number}, {done}"
        other.save_checkpoints(name, 1, {slot: large(1) for slot in LARGE})
        with closing(JetStreamStore(nats_url)) as first:
            die_at(first, 2, done=False)  # so that chunks are left behind
            with pytest.raises(Died):
                first.save_checkpoints(name, 1, {slot: large(2) for slot in LARGE})
        with closing(JetStreamStore(nats_url)) as second:
            die_at(second, number, done=done)
            with pytest.raises(Died):
                second.save_checkpoints(name, 2, {"a": made(3), "b": large(3), "c": None})
        found = [other.load_checkpoint(name, slot) for slot in LARGE]
        new = [made(3, 2), large(3, 2), None]
        assert found == (new if (number, done) >= (4, True) else [large(2, 1)] * 3), name
        other.save_checkpoints(name, 2, {slot: large(4) for slot in LARGE})
        assert [other.load_checkpoint(name, slot) for slot in LARGE] == [large(4, 2)] * 3
        assert len(chunks_of(nats_url, "checkpoints")) == 3, name
        other.save_checkpoints(name, 2, dict.fromkeys(LARGE))
        assert chunks_of(nats_url, "checkpoints") == set(), name


def test_as_many_slots_as_a_batch_has_messages_are_saved_and_more_refused(nats_url, store):
    slots = {f"slot {number}": made(number) for number in range(999)}
    store.save_checkpoints(NAME, 1, slots)
    assert store.load_checkpoint(NAME, "slot 998") == made(998, 1)
    with pytest.raises(NotStorable, match="1000 messages"):
        store.save_checkpoints(NAME, 2, {**slots, "serving": made(1)})
    assert store.load_checkpoint(NAME) is None
    assert len(records(nats_url)) == 1000
    store.save_checkpoints(NAME, 1, {"serving": made(2)})


def test_a_checkpoint_that_no_batch_can_hold_is_refused(nats_url, store):
    store._service.connection._wires.max_payload = 2048
    store.save_checkpoints(NAME, 1, {"serving": made(1)})
    with pytest.raises(NotStorable, match=f"takes {1000 * (2048 - 512)} bytes"):
        store.save_checkpoints(NAME, 1, {"a": made(2), "serving": large(2, size=2 * MB)})
    assert store.load_checkpoint(NAME) == made(1, 1)
    assert records(nats_url) == {"balances.lease", "balances.slot.serving"}


@pytest.fixture
def proxy(nats_url):
    """Stands between a store and one of the servers; `far` is the store's URL."""
    parts = urlsplit(nats_url)
    with closing(CuttingProxy(urlsplit(f"//{parts.netloc.split(',')[0]}").port)) as proxy:
        proxy.far = parts._replace(netloc=f"127.0.0.1:{proxy.port}").geturl()
        yield proxy


@pytest.mark.parametrize("forwarded", [True, False])
def test_a_save_whose_answer_is_lost_has_an_unknown_outcome(store, proxy, forwarded):
    with closing(JetStreamStore(proxy.far)) as far:
        proxy.rules = [(b"Nats-Batch-Commit", forwarded)]
        error = unavailable(far.save_checkpoints, NAME, 1, {"serving": made(1)})
        assert error.outcome_unknown
        assert proxy.rules == []
        if forwarded:
            eventually(lambda: store.load_checkpoint(NAME) == made(1, 1))
        else:
            assert far.load_checkpoint(NAME) is None
        far.save_checkpoints(NAME, 1, {"serving": made(1)})
        assert far.load_checkpoint(NAME) == made(1, 1)


def test_a_request_that_is_lost_and_stores_nothing_is_made_again(nats_url, proxy):
    with closing(JetStreamStore(proxy.far)) as far:
        far.save_checkpoints(NAME, 1, {"serving": large(1)})
        for asked in (b"STREAM.MSG.GET", b"STREAM.PURGE", b"DIRECT.GET"):
            for position in (2, 3):
                proxy.rules = [(asked, position == 3)]
                far.save_checkpoints(NAME, 1, {"serving": large(position)})
                assert far.load_checkpoint(NAME) == large(position, 1)
                assert proxy.rules == []
        assert len(chunks_of(nats_url, "checkpoints")) == 1


def test_servers_that_cannot_be_reached_are_unavailable_to_every_call(proxy):
    with closing(JetStreamStore(proxy.far, timeout=0.5)) as far:
        far.save_checkpoints(NAME, 1, {"serving": made(1)})
        proxy.refusing = True
        proxy.rules = [(b"STREAM.MSG.GET", False)]
        for call in calls_of(far):
            assert not unavailable(call).outcome_unknown
        proxy.refusing = False
        assert eventually(lambda: served(far)) == made(1, 1)
        assert far.acquire_lease(NAME, "first", 5).epoch == 2


def served(store):
    try:
        return store.load_checkpoint(NAME)
    except StoreUnavailable:
        return None


def test_a_race_that_is_lost_for_too_long_is_given_up(store, monkeypatch):
    monkeypatch.setattr(records_races, "_PATIENCE", 0.05)
    store.acquire_lease(NAME, "first", 600)
    last = store._service.connection.last

    async def outdated(*arguments):
        found = await last(*arguments)
        return found and found._replace(sequence=found.sequence + 1)

    store._service.connection.last = outdated
    error = unavailable(store.save_checkpoints, NAME, 1, {"serving": made(1)})
    assert not error.outcome_unknown
    store._service.connection.last = last
    assert store.load_checkpoint(NAME) is None


def test_a_closed_store_says_so_to_every_call(nats_url):
    store = JetStreamStore(nats_url)
    store.close()
    for call in calls_of(store):
        assert "closed" in str(unavailable(call))


def test_a_name_that_cannot_be_stored_is_refused(nats_url, store):
    for name in ("\ud800", "a\0b", 5, None):
        for call in (
            partial(store.load_checkpoint, name),
            partial(store.load_checkpoint, NAME, name),
            partial(store.save_checkpoints, name, 1, {"a": made(1)}),
            partial(store.save_checkpoints, NAME, 1, {name: made(1)}),
            partial(store.acquire_lease, name, "first", 5),
            partial(store.acquire_lease, NAME, name, 5),
        ):
            with pytest.raises(NotStorable):
                call()
    assert records(nats_url) == set()


def test_a_damaged_lease_is_not_replaced_for_epochs_never_fall(nats_url, store):
    values = ([5], [99, None, 1, 0, 0], [1, None], [1, 1, 1, 1, "1"])
    store.save_checkpoints(NAME, 7, {"serving": made(1)})
    for damaged in (b"", b"\xc1", *map(pack, values)):
        publish(nats_url, "checkpoints", "balances.lease", damaged)
        for call in calls_of(store)[1:]:
            with pytest.raises(CorruptStore, match=r"balances\.lease"):
                call()
    assert store.load_checkpoint(NAME) == made(1, 7)


def test_a_damaged_checkpoint_is_not_read_and_may_be_replaced(nats_url, store):
    store.save_checkpoints(NAME, 1, {"serving": large(1), "other": made(1)})
    value = key_values(nats_url, "checkpoints", lambda kv: kv.get("balances.slot.other")).value
    record = unpacked(value, "")
    part = record.parts[0]
    for damaged in (
        b"\xc1",
        packed(record._replace(parts=(part._replace(value=b"\xc1"),))),
        packed(record._replace(parts=(part._replace(value=pack([1])),))),
    ):
        publish(nats_url, "checkpoints", "balances.slot.serving", damaged)
        with pytest.raises(CorruptStore, match="serving"):
            store.load_checkpoint(NAME)
    assert store.load_checkpoint(NAME, "other") == made(1, 1)
    store.save_checkpoints(NAME, 1, {"serving": made(3)})
    assert store.load_checkpoint(NAME) == made(3, 1)
    assert chunks_of(nats_url, "checkpoints") == set()


def test_a_slot_that_another_program_deletes_is_empty(nats_url, store):
    store.save_checkpoints(NAME, 1, {"serving": large(1)})
    key_values(nats_url, "checkpoints", lambda kv: kv.delete("balances.slot.serving"))
    assert store.load_checkpoint(NAME) is None
    store.save_checkpoints(NAME, 1, {"serving": large(2)})
    assert store.load_checkpoint(NAME) == large(2, 1)
    assert len(chunks_of(nats_url, "checkpoints")) == 1


def test_a_renewal_forgets_no_chunks(nats_url, store):
    store.save_checkpoints(NAME, 1, {"serving": large(1)})
    assert store.acquire_lease(NAME, "first", 5).epoch == 2
    store.release_lease(NAME, "first")
    store.save_checkpoints(NAME, 2, {"other": large(1)})
    store.save_checkpoints(NAME, 2, {"serving": made(2)})
    assert len(chunks_of(nats_url, "checkpoints")) == 1


def test_what_a_server_says_that_has_been_replaced_is_not_believed(store, other):
    store.save_checkpoints(NAME, 1, {"serving": made(1)})
    last = other._service.connection.last
    subject = "balances.slot.serving"
    answers = []

    async def late(stream, of):
        if not answers and of.endswith(subject):
            answers.append(await last(stream, of))
            await asyncio.to_thread(store.save_checkpoints, NAME, 1, {"serving": made(2)})
            return answers[0]
        return await last(stream, of)

    other._service.connection.last = late
    assert other.load_checkpoint(NAME) == made(2, 1)
    assert answers
