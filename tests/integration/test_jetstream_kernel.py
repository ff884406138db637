"""A Kernel on JetStream: what its appends are, and that it catches up with others."""

from contextlib import closing

import pytest
from kernel_helpers import TYPE, Watch, add, dispatch_together
from store_helpers import append, log, made, payloads

from eskernel.errors import ConcurrencyConflict
from eskernel_stores.jetstream import JetStreamStore
from eskernel_stores.jetstream.connecting.connection import Connection

STREAM = (TYPE, "a")


@pytest.fixture
def store(nats_url):
    with closing(JetStreamStore(nats_url)) as store:
        yield store


@pytest.fixture
def other(nats_url, store):
    """Another store of the same events, as another process would have."""
    with closing(JetStreamStore(nats_url)) as other:
        yield other


def test_commands_queued_on_one_aggregate_are_appends_of_their_own(start, store):
    watch = Watch(store)
    dispatch_together(start(), watch, [add("a", number) for number in range(8)])
    positions = [event.position for event in log(store)]
    assert [position % 2**20 for position in positions] == [0] * 9  # each begins its own append


def test_a_race_lost_in_a_long_stream_is_known_after_few_requests(store, other, monkeypatch):
    """Else a kernel that is behind would fall behind for ever."""
    for _ in range(150):
        append(store, STREAM, *"ab")
    append(store, ("t", "other"), *"abc")
    requests = []
    ask = Connection.ask

    def counted(connection, subject, body=None):
        requests.append((subject, body))
        return ask(connection, subject, body)

    for number in range(2, 7):
        head = len(payloads(store, STREAM))
        for value in range(number):
            append(other, STREAM, value)
        monkeypatch.setattr(Connection, "ask", counted)
        with pytest.raises(ConcurrencyConflict):
            store.append(STREAM, made(STREAM, head, "lost"), expected_sequence=head)
        monkeypatch.undo()
    assert len(requests) <= 5 * 4, requests
