"""Hints: appends tell those who wait for them, through whatever server."""

import os
import threading
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest
import structlog
from cutting_proxy import CuttingProxy
from store_helpers import OTHER, STREAM, append, made, payloads
from support import eventually

from eskernel.contracts import Commit
from eskernel.errors import ConcurrencyConflict
from eskernel_stores.jetstream import JetStreamStore


class Hints:
    """Counts the calls of a function that is told of appends."""

    def __init__(self):
        self.number = 0
        self.threads = set()

    def __call__(self):
        self.number += 1
        self.threads.add(threading.current_thread())

    def follow(self, action):
        """Do something, and wait for a hint."""
        before = self.number
        action()
        eventually(lambda: self.number > before)


@pytest.fixture
def open_store():
    with ExitStack() as stores:

        def open_store(url):
            store = JetStreamStore(url)
            stores.callback(store.close)
            return store

        yield open_store


@pytest.fixture
def store(nats_url, open_store):
    return open_store(nats_url)


@pytest.fixture
def other(nats_url, open_store, store):
    return open_store(nats_url)


def settled(store, other, hints):
    """Return how many hints a store has had, when all that were sent before have come."""
    mark = Hints()
    end = store.on_append(mark)
    mark.follow(lambda: append(other, ("t", "mark"), "x"))
    end()
    return hints.number


def test_appends_of_any_store_are_told_on_a_thread_of_ones_own(store, other):
    hints = Hints()
    store.on_append(hints)
    for writer in (store, other):
        hints.follow(lambda writer=writer: append(writer, STREAM, "x"))
        hints.follow(lambda writer=writer: writer.append_batch([Commit(*_new(writer))]))
    assert hints.threads == {store._service.portal._thread}


def _new(writer):
    stream_id = ("t", str(id(writer)))
    return stream_id, made(stream_id, 0, 1), 0


def test_many_appends_share_a_hint(store, other, monkeypatch):
    monkeypatch.setattr("eskernel_stores.jetstream.hints.INTERVAL", 0.2)
    hints = Hints()
    store.on_append(hints)
    for number in range(100):
        other.append(STREAM, made(STREAM, number, "x"), expected_sequence=number)
    assert 1 < settled(store, other, hints) < 50


def test_a_batch_is_one_hint(store, other):
    hints = Hints()
    store.on_append(hints)
    before = settled(store, other, hints)
    commits = [Commit(("t", str(n)), made(("t", str(n)), 0, n), 0) for n in range(100)]
    hints.follow(lambda: other.append_batch(commits))
    assert settled(store, other, hints) == before + 2  # one is of `settled` itself


def test_what_is_refused_is_not_told(store, other):
    hints = Hints()
    store.on_append(hints)
    hints.follow(lambda: append(other, STREAM, "x"))
    before = settled(store, other, hints)
    for _ in range(5):
        with pytest.raises(ConcurrencyConflict):
            other.append(STREAM, made(STREAM, 7, "x"), expected_sequence=7)
    assert settled(store, other, hints) == before + 1  # of `settled` itself


def test_who_ends_it_is_told_no_more(store, other):
    hints, others = Hints(), Hints()
    end = store.on_append(hints)
    store.on_append(others)
    others.follow(lambda: append(other, STREAM, "x"))
    end()
    end()
    before = settled(store, other, hints)
    others.follow(lambda: append(other, STREAM, "y"))
    assert settled(store, other, hints) == before


def test_one_that_fails_keeps_no_other_from_it(store, other):
    def fail():
        raise LookupError("of the listener")

    hints = Hints()
    with structlog.testing.capture_logs() as logs:
        store.on_append(fail)
        store.on_append(hints)
        hints.follow(lambda: append(other, STREAM, "x"))
    assert "hint_failed" in {entry["event"] for entry in logs}


def test_a_listener_that_uses_the_store_is_told_not_to(store, other):
    caught = []

    def misuse():
        try:
            store.last_position()
        except RuntimeError as error:
            caught.append(str(error))

    store.on_append(misuse)
    append(other, STREAM, "x")
    eventually(lambda: caught)
    assert "must not use the store" in caught[0]
    assert payloads(store) == ["x"]


def test_a_listener_may_close_the_store(store, other):
    closed = threading.Event()

    def close():
        store.close()
        closed.set()

    store.on_append(close)
    append(other, STREAM, "x")
    assert closed.wait(5)
    eventually(lambda: not store._service.portal._thread.is_alive())


def test_a_closed_store_tells_nobody(store, other):
    hints = Hints()
    end = store.on_append(hints)
    store.close()
    before = hints.number
    append(other, STREAM, "x")
    store.on_append(hints)()
    end()
    assert hints.number == before


def test_a_closing_store_still_tells_of_what_it_appended(store, other, monkeypatch):
    hints = Hints()
    other.on_append(hints)
    monkeypatch.setattr("eskernel_stores.jetstream.hints.INTERVAL", 60)
    hints.follow(lambda: append(store, STREAM, "x"))
    append(store, STREAM, "y")  # which is not told before a minute is over
    hints.follow(store.close)


def test_after_a_lost_connection_it_is_told_what_may_have_been_missed(nats, nats_url, open_store):
    other = open_store(nats_url)
    proxy = CuttingProxy(urlsplit(nats.servers()[0]).port)
    try:
        store = open_store(f"nats://127.0.0.1:{proxy.port}{urlsplit(nats_url).path}")
        hints = Hints()
        store.on_append(hints)
        proxy.rules.append((b"STREAM.MSG.GET", False))
        hints.follow(lambda: payloads(store, OTHER))
        hints.follow(lambda: append(other, STREAM, "x"))
    finally:
        proxy.close()


def test_in_a_forked_child_nobody_is_told(store, other):
    hints = Hints()
    end_here = store.on_append(hints)
    with store._service.hints._tells._lock:  # as another thread may hold it
        child = os.fork()
    if not child:
        try:
            store._service.hints._tells._lock = threading.Lock()
            store._service.hints._tells._lock.acquire()
            end = store.on_append(hints)
            end()
            end_here()
            store.close()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    hints.follow(lambda: append(other, STREAM, "x"))
