"""Feed: catching up, following, filters, back-pressure, ends, outages."""

import threading
import time
from itertools import islice

import pytest
import structlog
from feed_helpers import OTHER, STREAM, ObservedStore, append, running
from store_helpers import start_program
from support import eventually, run_threads

from eskernel.errors import CorruptStore, StoreUnavailable
from eskernel.subscriptions import Feed
from eskernel_stores import MemoryStore


@pytest.fixture
def store():
    return ObservedStore()


def positions(feed, number):
    return [event.position for event in islice(feed, number)]


def all_there_is(feed):
    return [event.position for event in iter(lambda: feed.next(0), None)]


def test_it_hands_out_what_is_there_in_order_and_then_what_comes(store):
    append(store, *"abc")
    feed = Feed(store, page=2, poll_interval=0.005)
    assert positions(feed, 3) == [1, 2, 3]
    with running(lambda: (store.wait_for_looks(2), append(store, "d"))):
        event = next(feed)
    assert (event.position, event.type, event.payload) == (4, "d", {"n": 4})


def test_it_begins_after_the_position_given(store):
    append(store, *"abcd")
    assert all_there_is(Feed(store, from_position=2)) == [3, 4]
    assert all_there_is(Feed(store, from_position=store.last_position())) == []


def test_it_hands_out_only_the_types_asked_for(store):
    append(store, *"abab")
    append(store, "a", "b", stream_id=OTHER)
    assert all_there_is(Feed(store, types={"b"}, page=2)) == [2, 4, 6]
    assert all_there_is(Feed(store, aggregate_types=["order"])) == [5, 6]
    assert all_there_is(Feed(store, types=iter("b"), aggregate_types={"order"})) == [6]
    assert all_there_is(Feed(store, types=set())) == []


def test_a_timeout_of_0_looks_at_one_page_at_most(store):
    append(store, *"aaaab")
    feed = Feed(store, types={"b"}, page=2)
    assert [feed.next(0) for _ in range(2)] == [None, None]
    assert (store.looks, feed.position) == (2, 4)
    assert feed.next(0).position == 5


def test_next_gives_up_when_its_time_is_over(store):
    feed = Feed(store, poll_interval=0.005)
    began = time.monotonic()
    assert feed.next(timeout=0.05) is None
    assert 0.05 <= time.monotonic() - began < 1
    assert store.looks > 2
    append(store, "a")
    assert feed.next(timeout=0.05).position == 1


def test_it_reads_no_more_than_a_page_ahead(store):
    append(store, *["a"] * 100)
    feed = Feed(store, page=7)
    for taken in range(1, 101):
        next(feed)
        assert store.handed - taken < 7
    assert store.looks == 15
    append(store, "a")
    assert store.looks == 15  # nothing is read before somebody asks


def test_the_position_passes_over_what_is_filtered(store):
    append(store, *"abaab")
    feed = Feed(store, types={"b"})
    assert feed.position == 0
    assert next(feed).position == 2
    assert 2 <= feed.position < 5
    assert next(feed).position == 5
    append(store, *"aa")
    assert feed.position == 5
    assert feed.next(0) is None
    assert feed.position == 7


def test_an_event_is_acknowledged_when_its_reader_asks_for_the_next(store):
    append(store, *"abc")
    feed = Feed(store, types={"a", "c"}, from_position=0)
    assert feed.acknowledged == 0
    next(feed)
    assert feed.acknowledged == 0
    next(feed)
    assert (feed.acknowledged, feed.position) == (2, 3)
    assert feed.next(0) is None
    assert feed.acknowledged == 3


def test_what_a_reader_has_not_dealt_with_holds_back_what_others_have(store):
    append(store, *"abcd")
    feed = Feed(store)
    assert next(feed).position == 1  # by this thread, which is slow
    with running(lambda: positions(feed, 3)):
        pass
    assert (feed.position, feed.acknowledged) == (4, 0)
    with running(lambda: feed.next(0)):  # a later thread is not the one that has 2 to 4
        pass
    assert feed.next(0) is None
    assert feed.acknowledged == 3  # the last event's reader has ended without asking again


def test_a_feed_continued_from_what_was_acknowledged_misses_nothing(store):
    append(store, *"abcde")
    feed = Feed(store, page=2)
    assert positions(feed, 3) == [1, 2, 3]
    assert all_there_is(Feed(store, from_position=feed.acknowledged)) == [3, 4, 5]


def test_close_ends_all_who_wait_at_once(store):
    feed = Feed(store, poll_interval=60)
    ended = []
    with (
        running(lambda: ended.append(list(feed))),
        running(lambda: ended.append(list(feed))),
        running(lambda: ended.append(feed.next(60))),
    ):
        eventually(lambda: len(feed._waiting) == 3)
        began = time.monotonic()
        feed.close()
    assert time.monotonic() - began < 0.1
    assert sorted(ended, key=repr) == [None, [], []]


def test_a_closed_feed_hands_out_nothing_it_had_read(store):
    append(store, *"ab")
    feed = Feed(store)
    next(feed)
    feed.close()
    feed.close()
    assert feed.closed
    assert feed.next(5) is None
    assert list(feed) == []
    assert (feed.position, feed.acknowledged) == (1, 1)
    assert store.last_position() == 2  # the store is open


def test_close_ends_the_wait_for_a_store_that_is_gone(store):
    store.down = True
    feed = Feed(store)
    with running(lambda: list(feed)):
        eventually(lambda: store.looks > 2)
        feed.close()


def test_one_warning_tells_of_an_outage_after_which_it_goes_on(store):
    append(store, "a")
    feed = Feed(store, poll_interval=0.005)
    store.down = True
    found = []
    with structlog.testing.capture_logs() as logs:
        for number in (1, 2):
            with running(lambda: found.append(next(feed))):
                eventually(lambda: store.looks > 3)
                store.down = False
            store.looks, store.down = 0, True
            append(store, "b")
            assert len(logs) == number
    assert [event.position for event in found] == [1, 2]
    assert logs[0] == {
        "event": "feed_waits_for_store",
        "log_level": "warning",
        "error": "StoreUnavailable('gone for a while')",
        "position": 0,
    }


def test_a_logger_that_fails_keeps_nobody_from_going_on(store, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError

    monkeypatch.setattr("eskernel.subscriptions.outage._log", structlog.wrap_logger(None, [fail]))
    append(store, "a")
    store.down = True
    feed = Feed(store)
    with running(lambda: next(feed)):
        eventually(lambda: store.looks > 1)
        store.down = False


def test_who_has_no_more_time_is_told_of_the_outage(store):
    append(store, "a")
    store.down = True
    feed = Feed(store)
    with pytest.raises(StoreUnavailable, match="gone for a while"):
        feed.next(0)
    assert store.looks == 1
    with pytest.raises(StoreUnavailable):
        feed.next(0.2)
    assert store.looks > 2
    store.down = False
    assert feed.next(0).position == 1


def test_damage_is_told_after_what_precedes_it_was_handed_out(store):
    append(store, *"abcd")
    store.damaged = 3
    feed = Feed(store)
    assert positions(feed, 2) == [1, 2]
    for _ in range(2):
        with pytest.raises(CorruptStore, match="damaged"):
            next(feed)
    assert feed.position == 2
    store.damaged = None
    assert positions(feed, 2) == [3, 4]


def test_threads_that_read_one_feed_get_each_event_once():
    store = MemoryStore()
    append(store, *["a"] * 500)
    feed = Feed(store, page=10, poll_interval=0.005)
    got = []

    def read():
        got.extend(event.position for event in feed)

    def write():
        for _ in range(500):
            append(store, "b", stream_id=OTHER)
        eventually(lambda: len(got) >= 1000)
        feed.close()

    run_threads(read, read, read, write)
    assert sorted(got) == [*range(1, 1001)]
    assert feed.position == feed.acknowledged == 1000


def test_a_reader_whose_time_is_over_leaves_reading_on_to_those_who_wait(store):
    feed = Feed(store, poll_interval=60)
    with running(lambda: feed.next(0.05)):
        eventually(lambda: store.looks == 1)
        with running(lambda: next(feed)):
            eventually(lambda: len(feed._waiting) == 2)
            append(store, "a")


def test_a_hint_ends_the_wait(store):
    hint = threading.Event()
    asked = []

    def wait(seconds):
        asked.append(seconds)
        hint.wait(seconds)

    feed = Feed(store, poll_interval=60, wait=wait)
    with running(lambda: next(feed)):
        eventually(lambda: asked)
        append(store, "a")
        hint.set()
    assert asked == [60]
    hint.clear()
    assert feed.next(0.05) is None
    assert all(0 <= seconds <= 0.05 for seconds in asked[1:])


def test_without_hints_an_event_waits_for_the_poll_interval_at_most(store):
    feed = Feed(store, poll_interval=0.2)
    arrived = []
    with running(lambda: (next(feed), arrived.append(time.monotonic()))):
        store.wait_for_looks(2)  # and so has a whole interval before it
        append(store, "a")
        appended = time.monotonic()
    assert 0 < arrived[0] - appended < 0.2 + 0.2


def test_events_of_another_store_arrive_within_the_poll_interval(sqlite_url, open_sql):
    writer, feed = open_sql(sqlite_url), Feed(open_sql(sqlite_url), poll_interval=0.05)
    arrived = []
    with running(lambda: arrived.extend((next(feed), time.monotonic()))):
        eventually(lambda: feed._waiting)
        append(writer, "a")
        appended = time.monotonic()
    assert arrived[1] - appended < 0.05 + 0.2


def test_events_of_another_process_arrive(sqlite_url, open_sql):
    feed = Feed(open_sql(sqlite_url), poll_interval=0.02)
    program = start_program(
        f"""
        with closing(open_store({sqlite_url!r})) as store:
            for number in range(50):
                append(store, STREAM, number)
        """
    )
    with program:
        try:
            assert [feed.next(30).payload for _ in range(50)] == [*range(50)]
            assert program.wait(30) == 0
        finally:
            program.kill()


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (TypeError, r"types must be a set of strings; write \{'b'\}", {"types": "b"}),
        (TypeError, "aggregate_types must be a set", {"aggregate_types": "order"}),
        (TypeError, "types must hold strings only, not 1", {"types": [1]}),
        (TypeError, "types must be a set of strings or None", {"types": 1}),
        (TypeError, "from_position must be a whole number", {"from_position": 1.5}),
        (ValueError, "from_position must be at least 0", {"from_position": -1}),
        (TypeError, "page must be a whole number", {"page": True}),
        (ValueError, "page must be at least 1", {"page": 0}),
        (TypeError, "poll_interval must be a number of seconds", {"poll_interval": "1"}),
        (ValueError, "poll_interval must be more than 0", {"poll_interval": 0}),
        (ValueError, "poll_interval must be at least 0", {"poll_interval": float("nan")}),
        (TypeError, "wait must be a function", {"wait": 3}),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(error, message, options):
    with pytest.raises(error, match=message):
        Feed(MemoryStore(), **options)


def test_what_is_no_store_is_refused():
    with pytest.raises(TypeError, match="did you mean open_store"):
        Feed("sqlite:///bank.db")
    with pytest.raises(TypeError, match="must not be a class"):
        Feed(MemoryStore)


@pytest.mark.parametrize(("timeout", "error"), [(-1, ValueError), ("1", TypeError)])
def test_a_timeout_that_is_none_is_refused(timeout, error, store):
    with pytest.raises(error, match="timeout must be"):
        Feed(store).next(timeout)


def test_waiting_for_long_keeps_nothing_in_memory(store):
    feed = Feed(store, poll_interval=0.001)
    assert feed.next(0.1) is None
    assert store.looks > 10
    assert len(feed._waiting) <= 1
    assert STREAM not in store._streams
