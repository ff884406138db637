"""DurableFeed: where it begins and goes on, whose turn it is, what is saved, what comes again."""

import threading
import time
from itertools import islice

import pytest
import structlog
from feed_helpers import ObservedStore, append, running
from stress.interrupter import Interrupted, Interrupter, on_cpython_3_11
from support import eventually, run_threads

from eskernel.errors import CorruptStore, StoreUnavailable
from eskernel.subscriptions import DurableFeed
from eskernel.testing import ManualClock
from eskernel.values import SERVING, Checkpoint
from eskernel_stores import MemoryStore

KEY = "subscription/mailer"


class Checkpoints:
    """A real CheckpointStore that counts its saves, and fails when told to.

    Attributes:
        saves: how many were stored.
        error: what every call raises; None for none.
        before: called before each call.
    """

    def __init__(self, store):
        self._store = store
        self.saves = 0
        self.error = None
        self.before = lambda: None

    def _look(self):
        self.before()
        if self.error is not None:
            raise self.error

    def load_checkpoint(self, name, slot=SERVING):
        self._look()
        return self._store.load_checkpoint(name, slot)

    def save_checkpoints(self, name, epoch, slots):
        self._look()
        self._store.save_checkpoints(name, epoch, slots)
        self.saves += 1

    def acquire_lease(self, name, owner, seconds):
        self._look()
        return self._store.acquire_lease(name, owner, seconds)

    def release_lease(self, name, owner):
        self._look()
        self._store.release_lease(name, owner)


@pytest.fixture
def log():
    return ObservedStore()


@pytest.fixture(params=["memory", "sqlite"])
def kept(request):
    """The store of the checkpoints."""
    if request.param == "memory":
        return MemoryStore()
    return request.getfixturevalue("open_sql")(request.getfixturevalue("sqlite_url"))


@pytest.fixture
def checkpoints(kept):
    return Checkpoints(kept)


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def start(log, checkpoints, clock):
    """Makes feeds, each with an owner of its own, by a clock that stands still."""
    feeds = []

    def start(owner=None, **options):
        options = {"poll_interval": 0.002, "clock": clock, **options}
        feeds.append(DurableFeed(log, checkpoints, KEY, owner=owner, **options))
        return feeds[-1]

    yield start
    checkpoints.error, checkpoints.before = None, lambda: None
    for feed in feeds:
        feed.close()


def positions(feed, number):
    return [event.position for event in islice(feed, number)]


def all_there_is(feed):
    return [event.position for event in iter(lambda: feed.next(0), None)]


def stored(kept):
    return kept.load_checkpoint(KEY)


def take_over(kept, owner, by="other", seconds=60):
    """Have an owner's lease run out, and another one's begin; return the new one."""
    assert kept.acquire_lease(KEY, owner, 0).owner == owner
    lease = kept.acquire_lease(KEY, by, seconds)
    assert lease.owner == by
    return lease


def test_it_hands_out_what_is_there_and_then_what_comes(log, start):
    append(log, *"abc")
    feed = start(from_position=1)
    assert positions(feed, 2) == [2, 3]
    with running(lambda: (log.wait_for_looks(2), append(log, "d"))):
        assert next(feed).position == 4


def test_the_next_one_goes_on_where_the_last_one_was_closed(log, start):
    append(log, *"abcde")
    first = start()
    assert positions(first, 3) == [1, 2, 3]
    first.close()
    assert all_there_is(start()) == [3, 4, 5]  # who got 3 did not ask for another


def test_the_next_one_does_not_begin_anew(log, start):
    append(log, *"abc")
    with_all = start()
    assert all_there_is(with_all) == [1, 2, 3]
    with_all.close()
    assert all_there_is(start(from_position=1)) == []


def test_it_hands_out_only_what_is_asked_for(log, start):
    append(log, *"abab")
    assert all_there_is(start(types={"b"}, aggregate_types=["bank_account"])) == [2, 4]


def test_where_it_begins_is_stored_before_an_event_is_handed_out(log, start, kept, clock):
    append(log, *"abc")
    assert start("me", from_position=1).next(0).position == 2
    assert stored(kept).position == 1
    take_over(kept, "me", seconds=0)
    assert start(from_position=3).next(0).position == 2


def test_it_saves_after_every_page(log, start, kept, checkpoints):
    append(log, *["a"] * 9)
    feed = start(page=3)
    saved = []
    for event in islice(feed, 9):
        saved.append(stored(kept).position)
        assert event.position - saved[-1] <= 3
    assert saved == [0, 0, 0, 3, 3, 3, 6, 6, 6]
    assert checkpoints.saves == 3
    assert feed.acknowledged == 8


def test_it_saves_what_waits_for_a_second(log, start, kept, clock):
    append(log, "a")
    feed = start()
    assert positions(feed, 1) == [1]
    assert feed.next(0) is None
    assert stored(kept).position == 0
    clock.advance(0.99)
    assert (feed.next(0), stored(kept).position) == (None, 0)
    clock.advance(0.02)
    assert (feed.next(0), stored(kept).position) == (None, 1)


def test_a_reader_that_waits_saves_meanwhile(log, checkpoints):
    append(log, "a")
    feed = DurableFeed(log, checkpoints, KEY, poll_interval=0.01, lease_seconds=600)
    with running(lambda: list(feed)):
        eventually(lambda: checkpoints.saves == 2)
        assert feed.acknowledged == 1
        feed.close()


def test_nothing_new_is_not_saved_again(log, start, checkpoints, clock):
    append(log, "a")
    feed = start()
    assert all_there_is(feed) == [1]
    for _ in range(10):
        clock.advance(1)
        assert feed.next(0) is None
    assert checkpoints.saves == 2  # the beginning, and the event


def test_version_and_notes_are_kept_as_they_were_found(log, start, kept):
    append(log, *"abc")
    kept.save_checkpoints(KEY, 4, {SERVING: Checkpoint(1, "theirs", b"", b"notes")})
    feed = start(version="mine", notes=b"of mine")
    assert all_there_is(feed) == [2, 3]
    feed.close()
    assert stored(kept) == Checkpoint(3, "theirs", b"", b"notes", 5)


def test_of_two_one_is_active_and_the_other_follows_it(log, start, clock):
    append(log, *"abc")
    first, second = start(), start()
    assert positions(first, 2) == [1, 2]
    begun = time.monotonic()
    assert second.next(0.05) is None
    assert 0.05 <= time.monotonic() - begun < 1
    assert (first.active, second.active) == (True, False)
    first.close()
    clock.advance(2)  # when it asks again
    assert all_there_is(second) == [2, 3]
    assert (first.active, second.active) == (False, True)


def test_a_reader_that_stops_reading_loses_the_lease_in_time(log, checkpoints):
    append(log, *"abc")
    first = DurableFeed(log, checkpoints, KEY, lease_seconds=0.2, poll_interval=0.01)
    second = DurableFeed(log, checkpoints, KEY, lease_seconds=0.2, poll_interval=0.01)
    assert positions(first, 2) == [1, 2]
    begun = time.monotonic()
    assert positions(second, 3) == [1, 2, 3]  # all since the last save
    assert time.monotonic() - begun < 0.2 + 0.5
    assert first.next(0) is None
    assert not first.active


def test_a_lease_is_renewed_at_a_third_of_it(log, start, checkpoints, clock):
    append(log, *"a" * 3)
    feed = start(lease_seconds=6)
    asked = []
    acquire = checkpoints._store.acquire_lease
    checkpoints.acquire_lease = lambda *given: (asked.append(clock.monotonic()), acquire(*given))[1]
    for _ in range(9):
        feed.next(0)
        clock.advance(1)
    assert asked == [0, 2, 4, 6, 8]


def test_a_slow_reader_goes_on_if_nobody_has_taken_over(log, start, clock, checkpoints):
    append(log, *"abc")
    feed = start()
    got = []
    for event in islice(feed, 3):
        got.append(event.position)
        clock.advance(60)
        assert not feed.active
    assert got == [1, 2, 3]
    assert feed.next(0) is None
    assert feed.active


def test_who_wakes_up_after_its_lease_hands_out_nothing_and_stores_nothing(
    log, start, kept, clock, checkpoints
):
    append(log, *"abcde")
    feed = start("me", page=2)
    assert positions(feed, 3) == [1, 2, 3]
    lease = take_over(kept, "me")
    kept.save_checkpoints(KEY, lease.epoch, {SERVING: Checkpoint(2, "", b"", b"theirs")})
    clock.advance(60)
    saves = checkpoints.saves
    assert [feed.next(0) for _ in range(3)] == [None, None, None]
    feed.close()
    assert checkpoints.saves == saves
    assert stored(kept) == Checkpoint(2, "", b"", b"theirs", lease.epoch)
    assert kept.acquire_lease(KEY, "other", 60).epoch == lease.epoch  # it was not given back


def test_closing_after_a_takeover_stores_nothing(log, start, kept, checkpoints):
    append(log, *"ab")
    feed = start("me")
    assert all_there_is(feed) == [1, 2]
    lease = take_over(kept, "me")
    kept.save_checkpoints(KEY, lease.epoch, {SERVING: Checkpoint(1, "", b"")})
    with structlog.testing.capture_logs() as logs:
        feed.close()
    assert stored(kept).position == 1
    assert logs == []


@pytest.mark.parametrize("taken_over", [True, False])
def test_an_event_read_by_one_whose_lease_ran_out_meanwhile_is_not_handed_out(
    log, start, kept, clock, taken_over
):
    feed = start("me")
    assert feed.next(0) is None
    append(log, *"ab")
    read = log.fold_all

    def slow(*arguments, **options):
        log.fold_all = read
        clock.advance(60)
        if taken_over:
            take_over(kept, "me")
        return read(*arguments, **options)

    log.fold_all = slow
    assert feed.next(0) is None
    assert all_there_is(feed) == ([] if taken_over else [1, 2])


def test_who_is_told_that_it_came_too_late_begins_again_where_the_other_was(log, start, kept):
    append(log, *"abcdef")
    feed = start(page=2)
    assert positions(feed, 2) == [1, 2]
    kept.save_checkpoints(KEY, 70, {SERVING: Checkpoint(4, "", b"")})  # which ends the lease
    assert positions(feed, 2) == [5, 6]
    feed.close()
    assert (stored(kept).position, stored(kept).epoch) == (5, 71)


def test_all_threads_of_a_feed_begin_again_when_another_had_the_lease(log, start, kept, clock):
    append(log, *"abcdef")
    feed = start("me")
    got = []
    hold = threading.Event()

    def slow():
        got.append(feed.next(5).position)
        hold.wait(5)
        got.append(feed.next(5).position)

    with running(slow):
        eventually(lambda: got)
        lease = take_over(kept, "me", seconds=0)
        kept.save_checkpoints(KEY, lease.epoch, {SERVING: Checkpoint(4, "", b"")})
        clock.advance(60)
        assert next(feed).position == 5
        hold.set()
    assert got == [1, 6]


def test_one_warning_tells_of_an_outage_of_the_checkpoints(log, start, checkpoints, kept):
    append(log, *"abcd")
    feed = start(page=1)
    assert positions(feed, 2) == [1, 2]
    checkpoints.error = StoreUnavailable("gone for a while")
    with structlog.testing.capture_logs() as logs:
        with pytest.raises(StoreUnavailable, match="gone for a while"):
            feed.next(0.2)
        assert feed.acknowledged == 2
        with running(lambda: (eventually(lambda: logs), setattr(checkpoints, "error", None))):
            assert next(feed).position == 3
    assert [entry["event"] for entry in logs] == ["feed_waits_for_store"]
    assert stored(kept).position == 2


def test_nothing_is_handed_out_while_what_is_due_cannot_be_saved(log, start, checkpoints):
    append(log, *["a"] * 9)
    feed = start(page=3)
    assert positions(feed, 3) == [1, 2, 3]
    checkpoints.error = StoreUnavailable("gone")
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            feed.next(0)


def test_an_outage_of_the_log_is_waited_for(log, start):
    append(log, "a")
    feed = start()
    assert next(feed).position == 1
    log.down = True
    with pytest.raises(StoreUnavailable):
        feed.next(0)
    append(log, "b")
    with running(lambda: (log.wait_for_looks(2), setattr(log, "down", False))):
        assert next(feed).position == 2


def test_a_position_that_is_damaged_is_told_and_nothing_is_overwritten(log, start, checkpoints):
    append(log, "a")
    feed = start()
    load = checkpoints._store.load_checkpoint

    def damaged(*_):
        raise CorruptStore("damaged")

    checkpoints._store.load_checkpoint = damaged
    for _ in range(2):
        with pytest.raises(CorruptStore):
            next(feed)
    assert checkpoints.saves == 0
    checkpoints._store.load_checkpoint = load
    assert next(feed).position == 1


def test_damage_of_the_log_is_told_after_what_precedes_it(log, start):
    append(log, *"abc")
    log.damaged = 2
    feed = start()
    assert next(feed).position == 1
    with pytest.raises(CorruptStore):
        next(feed)
    log.damaged = None
    assert positions(feed, 2) == [2, 3]


def test_close_saves_and_gives_the_lease_back(log, start, kept):
    append(log, *"abc")
    feed = start()
    assert all_there_is(feed) == [1, 2, 3]
    feed.close()
    feed.close()
    assert feed.closed
    assert stored(kept).position == 3
    assert kept.acquire_lease(KEY, "other", 60).owner == "other"
    assert feed.next(5) is None
    assert list(feed) == []
    assert kept.acquire_lease(KEY, "other", 60).epoch == 2  # which a closed one does not ask for


def test_close_ends_all_who_wait_at_once(log, start):
    first, second = start(poll_interval=60), start(poll_interval=60)
    assert first.next(0) is None
    ended = []
    with (
        running(lambda: ended.append(list(first))),
        running(lambda: ended.append(list(second))),
        running(lambda: ended.append(list(second))),
    ):
        eventually(lambda: first._tenures.feed._waiting)
        begun = time.monotonic()
        first.close()
        second.close()
    assert time.monotonic() - begun < 1
    assert ended == [[], [], []]


def test_what_the_store_refuses_at_the_end_is_logged(log, start, checkpoints, kept):
    append(log, "a")
    feed = start()
    assert all_there_is(feed) == [1]
    checkpoints.error = StoreUnavailable("gone")
    with structlog.testing.capture_logs() as logs:
        feed.close()
    assert logs == [
        {
            "event": "subscription_not_released",
            "log_level": "warning",
            "error": "StoreUnavailable('gone')",
            "position": 0,
        }
    ]


def test_a_thread_that_talks_to_the_store_ends_what_another_closes(log, start, kept, checkpoints):
    append(log, *"ab")
    feed = start(page=1)
    reached, go_on = threading.Event(), threading.Event()

    def read():
        assert next(feed).position == 1
        checkpoints.before = lambda: (reached.set(), go_on.wait(5))
        assert list(feed) == []

    def close():
        assert reached.wait(5)
        feed.close()
        assert stored(kept).position == 1  # it has waited for it
        assert kept.acquire_lease(KEY, "other", 60).owner == "other"

    def open_():
        eventually(lambda: feed.closed)
        go_on.set()

    run_threads(read, close, open_)


def test_closing_from_a_signal_handler_does_not_wait_for_what_it_interrupts(
    log, start, checkpoints, kept
):
    append(log, *"ab")
    feed = start(page=1)
    assert next(feed).position == 1
    took = []

    def close():
        checkpoints.before = lambda: None
        begun = time.monotonic()
        feed.close()
        took.append(time.monotonic() - begun)

    checkpoints.before = close  # called by the reader, in the middle of a save
    assert list(feed) == []
    assert took[0] < 0.5
    assert kept.acquire_lease(KEY, "other", 60).owner == "other"


def test_threads_that_read_one_feed_get_each_event_once(log, checkpoints, kept):
    feed = DurableFeed(log, checkpoints, KEY, page=10, poll_interval=0.005)
    got = []

    def read():
        got.extend(event.position for event in feed)

    def write():
        for _ in range(10):
            append(log, *["a"] * 50)
        eventually(lambda: len(got) >= 500 and feed.acknowledged == 500)
        feed.close()

    run_threads(read, read, read, write)
    assert sorted(got) == [*range(1, 501)]
    assert stored(kept).position == 500


def test_feeds_that_fight_for_a_lease_leave_no_gap(log, kept):
    append(log, *["a"] * 300)
    got, lock = [], threading.Lock()

    def work():
        feed = DurableFeed(log, kept, KEY, page=5, poll_interval=0.005, lease_seconds=0.02)
        for number, event in enumerate(iter(lambda: feed.next(1), None), 1):
            with lock:
                got.append(event.position)
            if number % 20 == 0:
                time.sleep(0.05)  # longer than its lease
        feed.close()

    run_threads(work, work, work)
    assert sorted(set(got)) == [*range(1, 301)]
    assert stored(kept).position == 300


def interrupted_at(n):
    """Read 6 events, the n-th point of it interrupted; return what was got, and where it was."""
    log = MemoryStore()
    append(log, *"abcdef")
    feed = DurableFeed(log, log, KEY, page=2, poll_interval=0.001)
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
    feed.next(0)
    feed.close()
    assert stored(log).position == 6, interrupter.where
    return got, interrupter.where


@on_cpython_3_11
def test_no_point_of_reading_loses_or_repeats_an_event():
    n = 0
    while True:
        got, where = interrupted_at(n)
        assert got == [1, 2, 3, 4, 5, 6], where
        if where is None:
            break
        n += 1
    assert n > 100


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (TypeError, "lease_seconds must be a number of seconds", {"lease_seconds": "5"}),
        (ValueError, "lease_seconds must be more than 0", {"lease_seconds": 0}),
        (ValueError, "from_position must be at least 0", {"from_position": -1}),
        (TypeError, "types must be a set", {"types": "b"}),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(error, message, options):
    with pytest.raises(error, match=message):
        DurableFeed(MemoryStore(), MemoryStore(), KEY, **options)


@pytest.mark.parametrize(("timeout", "error"), [(-1, ValueError), ("1", TypeError)])
def test_a_timeout_that_is_none_is_refused(timeout, error, start):
    with pytest.raises(error, match="timeout must be"):
        start().next(timeout)
