"""What JetStreamStore says of appends when connections are lost, and what is there then."""

import socket
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest
from cutting_proxy import CuttingProxy
from store_helpers import OTHER, STREAM, append, log, made, payloads, unavailable
from support import eventually

from eskernel.contracts import Commit
from eskernel.errors import StoreUnavailable
from eskernel_stores.jetstream import JetStreamStore
from eskernel_stores.jetstream.connecting.replies import ApiError

ONE = b".events.bank_account.acc-1 "
"""What a published append has in it."""

COMMIT = b"Nats-Batch-Commit"
ASKED = b"STREAM.MSG.GET"
PAGE = b"DIRECT.GET"


@pytest.fixture
def proxy(nats):
    (host, port), *_ = ((urlsplit(one).hostname, urlsplit(one).port) for one in nats.servers())
    assert host in ("127.0.0.1", "localhost")
    proxy = CuttingProxy(port)
    yield proxy
    proxy.close()


@pytest.fixture
def open_store():
    with ExitStack() as stores:

        def open_store(url, **options):
            store = JetStreamStore(url, **options)
            stores.callback(store.close)
            return store

        yield open_store


@pytest.fixture
def direct(nats_url, open_store):
    """A store whose connections nobody cuts."""
    return open_store(nats_url)


@pytest.fixture
def store(nats_url, proxy, direct, open_store):
    return open_store(f"nats://127.0.0.1:{proxy.port}{urlsplit(nats_url).path}")


def batch(number):
    return [
        Commit(stream_id, made(stream_id, 0, "x"), 0, append_id=number + index)
        for index, stream_id in enumerate((STREAM, OTHER))
    ]


@pytest.mark.parametrize("forwarded", [True, False])
def test_an_append_whose_answer_is_lost_may_be_stored(store, direct, proxy, forwarded):
    events = made(STREAM, 0, "a", "b")
    proxy.rules.append((ONE, forwarded))
    error = unavailable(store.append, STREAM, events, expected_sequence=0, append_id=7)
    assert error.outcome_unknown
    assert not proxy.rules
    if forwarded:
        eventually(lambda: payloads(direct) == ["a", "b"])
        stored = direct.last_position()
        again = store.append(STREAM, events, expected_sequence=0, append_id=7)
        assert again == stored
    else:
        assert payloads(direct) == []
        store.append(STREAM, events, expected_sequence=0, append_id=7)
    assert payloads(direct) == ["a", "b"]


@pytest.mark.parametrize("forwarded", [True, False])
def test_a_batch_whose_answer_is_lost_is_there_whole_or_not_at_all(store, direct, proxy, forwarded):
    proxy.rules.append((COMMIT, forwarded))
    outcomes = store.append_batch(batch(1))
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 2
    assert all(outcome.outcome_unknown for outcome in outcomes)
    if forwarded:
        eventually(lambda: payloads(direct) == payloads(direct, OTHER) == ["x"])
    else:
        assert log(direct) == []
    again = store.append_batch(batch(1))
    assert [event.position for event in log(direct)] == again


def test_a_batch_that_is_cut_before_its_end_is_not_stored(store, direct, proxy):
    large = b"x" * (1 << 22)  # of several messages, the last of which commits
    proxy.rules.append((b"Nats-Batch-Sequence: 2\r", False))
    error = unavailable(store.append, STREAM, made(STREAM, 0, large), expected_sequence=0)
    assert isinstance(error.outcome_unknown, bool)
    assert payloads(direct) == []
    append(store, STREAM, "y")
    assert payloads(direct) == ["y"]


def test_what_cannot_be_sent_is_not_stored(nats_url, store, direct, proxy, open_store):
    impatient = open_store(f"nats://127.0.0.1:{proxy.port}{urlsplit(nats_url).path}", timeout=0.3)
    append(impatient, STREAM, "before")
    proxy.refusing = True
    proxy.rules.append((ASKED, False))
    error = unavailable(payloads, impatient)
    assert "no NATS server could be reached within 0.3 seconds" in str(error)
    events = made(STREAM, 1, "x")
    error = unavailable(impatient.append, STREAM, events, expected_sequence=1)
    assert not error.outcome_unknown
    proxy.refusing = False
    eventually(lambda: _tried(impatient, events))
    assert payloads(direct) == ["before", "x"]


def _tried(store, events):
    try:
        store.append(STREAM, events, expected_sequence=1)
    except StoreUnavailable as error:
        assert not error.outcome_unknown
        return False
    return True


@pytest.mark.parametrize("needle", [ASKED, PAGE])
@pytest.mark.parametrize("forwarded", [True, False])
def test_who_reads_does_not_notice_that_a_connection_was_lost(store, proxy, needle, forwarded):
    append(store, STREAM, "a")
    append(store, STREAM, "b")
    proxy.rules.append((needle, forwarded))
    assert payloads(store) == ["a", "b"]
    assert not proxy.rules


def test_an_old_answer_is_nobodys_on_a_new_connection(store, direct, proxy):
    for number in range(10):
        proxy.rules.append((ONE, number % 2 == 0))
        unavailable(append, store, STREAM, number)
        append(store, OTHER, number)
    assert payloads(store, OTHER) == [*range(10)]
    eventually(lambda: payloads(direct) == [0, 2, 4, 6, 8])


def test_a_server_that_is_none_is_left_for_another(nats, nats_url, open_store):
    with socket.create_server(("127.0.0.1", 0)) as mute:  # takes connections, says nothing
        hosts = nats_url.removeprefix("nats://")
        store = open_store(f"nats://127.0.0.1:{mute.getsockname()[1]},{hosts}", timeout=8)
        append(store, STREAM, "x")
        assert payloads(store) == ["x"]


class OldLeader:
    """Puts itself before a store's connection, as a leader that does not know it has a successor.

    It refuses what the successor stores, and does not know of it, until it has been asked often.
    """

    def __init__(self, store, answers):
        self._connection = store._service.connection
        self._publish, self._last = self._connection.publish_batch, self._connection.last
        self._old, self._answers = None, answers
        self.refused = 0

    def takes_over(self, stored):
        """From now on; `stored`: whether its successor stores what it refuses first."""
        self._stored = stored
        self._connection.publish_batch, self._connection.last = self._refuse, self._answer

    async def _refuse(self, messages):
        if self._answers:
            if self._old is None:
                stream = "-".join((messages[0].subject.split(".")[0], "events"))
                self._old = await self._last(stream, messages[0].subject)
                if self._stored:
                    await self._publish(messages)
            self.refused += 1
            raise ApiError(400, 10071, "wrong last sequence: 0")
        return await self._publish(messages)

    async def _answer(self, stream, subject):
        if self._old is not None and self._answers:
            self._answers -= 1
            return self._old
        return await self._last(stream, subject)


@pytest.mark.parametrize("stored", [True, False])
def test_a_refusal_by_an_old_leader_is_no_conflict(store, direct, stored):
    append(store, STREAM, "a")
    old = OldLeader(store, answers=3)
    old.takes_over(stored)
    position = store.append(STREAM, made(STREAM, 1, "b"), expected_sequence=1)
    assert old.refused == 3
    assert payloads(direct) == ["a", "b"]
    assert position == direct.last_position()


def test_an_old_leader_that_stays_leaves_the_outcome_unknown(nats_url, direct, open_store):
    store = open_store(nats_url, timeout=0.3)
    append(store, STREAM, "a")
    OldLeader(store, answers=1000).takes_over(stored=True)
    error = unavailable(store.append, STREAM, made(STREAM, 1, "b"), expected_sequence=1)
    assert error.outcome_unknown
    assert payloads(direct) == ["a", "b"]


def test_who_has_seen_an_event_does_not_read_without_it(nats_url, direct, open_store):
    store = open_store(nats_url, timeout=0.3)
    append(store, STREAM, "a")
    connection = store._service.connection
    last, old = connection.last, {}

    async def stale(stream, subject):
        if subject not in old:
            old[subject] = await last(stream, subject)
        return old[subject]

    connection.last = stale
    assert payloads(store) == ["a"]
    before = store.last_position()
    store.append(STREAM, made(STREAM, 1, "b"), expected_sequence=1)
    for read in (lambda: payloads(store), lambda: log(store), store.last_position):
        error = unavailable(read)
        assert "knows less than this store has seen" in str(error)
        assert not error.outcome_unknown
    old.clear()
    assert payloads(store) == ["a", "b"]
    assert store.last_position() > before
