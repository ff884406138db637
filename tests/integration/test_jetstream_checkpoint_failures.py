"""Checkpoints in JetStream when processes die, answers are lost and servers are away."""

import asyncio
from contextlib import closing
from itertools import product
from urllib.parse import urlsplit

import pytest
from cutting_proxy import CuttingProxy
from jetstream_buckets import (
    NAME,
    Died,
    calls_of,
    chunks_of,
    die_at,
    large,
    made,
)
from store_helpers import unavailable
from support import eventually

from eskernel.errors import StoreUnavailable
from eskernel_stores.jetstream import JetStreamStore
from eskernel_stores.jetstream.buckets import races

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


@pytest.fixture
def proxy(nats, nats_url):
    """Stands between a store and one of the servers; `far` is the store's URL."""
    if not nats.can_be_killed:
        pytest.skip("somebody else's servers may tell of other ways to them")
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
    monkeypatch.setattr(races, "_PATIENCE", 0.05)
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
