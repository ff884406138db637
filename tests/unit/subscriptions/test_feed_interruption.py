"""Feed: an exception that arrives in a reader, at whatever point, loses no event."""

import signal
import threading
import time

import pytest
from feed_helpers import ObservedStore, append, running
from stress.interrupter import Interrupted, Interrupter, on_cpython_3_11
from support import eventually

from eskernel.subscriptions import Feed


def press_ctrl_c():
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


def test_a_waiting_reader_can_be_interrupted_and_loses_nothing():
    store = ObservedStore()
    feed = Feed(store, poll_interval=60)
    with running(lambda: (eventually(lambda: feed._waiting), press_ctrl_c())):
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            next(feed)
        assert time.monotonic() - began < 5
    append(store, "a")
    assert feed.next(0).position == 1


def test_when_the_one_who_reads_on_is_interrupted_another_takes_over():
    store = ObservedStore()
    feed = Feed(store, poll_interval=60)
    got = []

    def read_beside():
        eventually(lambda: feed._ahead)
        got.append(next(feed).position)

    def interrupt():
        eventually(lambda: len(feed._waiting) == 2)
        append(store, "a")
        press_ctrl_c()

    with running(read_beside), running(interrupt), pytest.raises(KeyboardInterrupt):
        next(feed)
    assert got == [1]


def interrupted_at(n, page):
    """Read 6 events, the n-th point of it interrupted; return what was got, and whether it was."""
    store = ObservedStore()
    append(store, *"abcdef")
    feed = Feed(store, page=page, poll_interval=0.001)
    got = []
    interrupter = Interrupter(n)
    while len(got) < 6:
        event = None
        try:
            if interrupter.where is None:
                with interrupter:
                    event = feed.next(5)
            else:
                event = feed.next(5)
        except Interrupted:
            continue
        got.append(event.position)
        assert feed.position == event.position
        assert feed.acknowledged == event.position - 1
    return got, interrupter.where


@on_cpython_3_11
@pytest.mark.parametrize("page", [2, 500])
def test_no_point_of_reading_loses_or_repeats_an_event(page):
    n = 0
    while True:
        got, where = interrupted_at(n, page)
        assert got == [1, 2, 3, 4, 5, 6], where
        if where is None:
            break
        n += 1
    assert n > 50


@on_cpython_3_11
def test_no_point_at_which_a_reader_is_interrupted_holds_up_another():
    n = 0
    where = ""
    while where is not None:
        store = ObservedStore()
        feed = Feed(store, poll_interval=0.001)
        interrupter = Interrupter(n)

        def wait(interrupter=interrupter, feed=feed):
            try:
                with interrupter:
                    feed.next(0.003)
            except Interrupted:
                pass

        thread = threading.Thread(target=wait)
        thread.start()
        thread.join(5)
        append(store, "a")
        assert feed.next(5) is not None, interrupter.where
        where = interrupter.where
        n += 1
    assert n > 30
