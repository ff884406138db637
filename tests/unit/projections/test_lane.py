"""One slot on its way along the log: pages, commits, and what becomes of a failing event."""

import time
from dataclasses import dataclass

import pytest
from projecting_helpers import (
    KEY,
    STREAM,
    LaneRig,
    ProbedStore,
    Sums,
    append,
    check_ledger,
    fails_at,
    once,
    spoils_at,
    unavailable,
)

from eskernel.errors import CorruptStore, NotStorable, StaleEpoch, StoreUnavailable
from eskernel.projections.callback_model import CallbackModel
from eskernel.projections.definition import Definition
from eskernel.projections.failing import in_words
from eskernel.projections.lane import _CHUNK
from eskernel.projections.ledger import Ledger
from eskernel.projections.pages import LARGEST, SMALLEST
from eskernel.projections.progress import Progress
from eskernel.projections.state_model import StateModel
from eskernel.values import SERVING, Checkpoint


@pytest.fixture
def store():
    return ProbedStore()


@pytest.fixture
def module():
    return Sums()


@pytest.fixture
def rig(store, module):
    def rig(**options):
        return LaneRig(store, module, **options).begin()

    return rig


def stored(store):
    """Return the progress that is stored."""
    return Progress.of(store.load_checkpoint(KEY))


def stale():
    raise StaleEpoch(KEY, 1, 2)


@dataclass(frozen=True)
class Frozen(Exception):
    n: int


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("nothing to say")


# Pages and commits.


def test_it_handles_every_event_once_in_order(rig, store, module):
    append(store, *range(100))
    lane = rig()
    lane.run()
    assert lane.handled() == module.calls == list(range(1, 101))
    assert lane.state["sum"] == sum(range(100))
    assert lane.lane.progress.position == 100
    append(store, 1000)
    lane.run()
    assert lane.handled() == list(range(1, 102))


def test_an_empty_log_is_nothing_to_do(rig, store):
    lane = rig()
    assert not lane.lane.advance(1)
    assert store.saves == []
    assert lane.lane.waits_until() == float("inf")


def pages(lane):
    """Advance to the end of the log, and return how far it came each time."""
    sizes, before = [], lane.lane.progress.position
    while lane.lane.advance(1):
        sizes.append(lane.lane.progress.position - before)
        before += sizes[-1]
    return sizes


def test_pages_grow_while_they_are_quick(rig, store):
    append(store, *range(2000))
    sizes = pages(rig())
    assert sizes[0] == SMALLEST
    assert SMALLEST < max(sizes) <= LARGEST


def test_pages_of_slow_handlers_shrink_to_a_single_event(rig, store, module):
    append(store, *range(20))
    module.hook = lambda *_: time.sleep(0.02)
    assert pages(rig()) == [SMALLEST, 1, 1, 1, 1]


def test_events_it_does_not_want_are_passed_over(store):
    append(store, 1, 2)
    append(store, 3, type="removed")
    append(store, 4, stream_id=("other", "a"))
    append(store, 5)
    for attributes, wanted in [
        ({"event_types": {"added"}}, [1, 2, 4, 5]),
        ({"aggregate_types": {"thing"}}, [1, 2, 3, 5]),
        ({"event_filter": lambda event: event.payload["n"] % 2}, [1, 3, 5]),
        ({"event_types": {"gone"}}, []),
    ]:
        module = Sums(**attributes)
        lane = LaneRig(store, module).begin()
        lane.run()
        assert lane.handled() == module.calls == wanted
        assert lane.lane.progress.position == 5


def test_a_filter_that_raises_is_a_failure_of_its_event(store):
    append(store, 1, 2, 3)
    module = Sums(event_filter=lambda event: 1 / (event.position - 2))
    lane = LaneRig(store, module, on_failure="park").begin()
    lane.run_on()
    assert lane.handled() == [1, 3]
    assert "ZeroDivisionError" in lane.lane.progress.parked[0].error


def test_a_checkpoint_is_written_after_so_many_events(rig, store):
    append(store, 0)
    lane = rig(checkpoint_events=100, checkpoint_seconds=1000)
    lane.run()
    assert stored(store).position == 1  # the first is not kept waiting
    append(store, *range(98))
    lane.run()
    assert stored(store).position == 1
    append(store, *range(200))
    lane.run()
    assert stored(store).position >= 101


def test_a_checkpoint_is_written_after_so_many_seconds(rig, store):
    append(store, 0)
    lane = rig(checkpoint_seconds=3.0)
    lane.run()
    append(store, 1)
    lane.run()
    assert stored(store).position == 1
    assert lane.lane.waits_until() >= lane.clock.monotonic() + 3.0
    lane.clock.advance(2.9)
    lane.run()
    assert stored(store).position == 1
    lane.clock.advance(1000)
    lane.run()
    assert stored(store) == lane.lane.progress == lane.lane.committed
    assert lane.lane.waits_until() == float("inf")


def test_events_that_are_passed_over_are_stored_as_seen_too(rig, store):
    module = Sums(event_types={"gone"})
    lane = LaneRig(store, module).begin()
    append(store, 1, 2, 3)
    lane.run_on()
    assert stored(store).position == 3


def test_it_goes_on_where_it_was_stored(rig, store, module):
    append(store, *range(10))
    lane = rig()
    lane.run()
    lane.lane.commit(1)
    append(store, 99)
    other = LaneRig(store, Sums())
    assert other.lane.load()
    store.handed.clear()
    other.run()
    assert store.handed == [11]
    assert other.handled() == list(range(1, 12))


def test_nothing_stored_is_nothing_to_load(store, module):
    assert not LaneRig(store, module).lane.load()


# Failing events.


def test_a_failing_event_is_tried_again_with_growing_delays(rig, store, module):
    append(store, *range(10))
    module.hook = fails_at(5)
    lane = rig(retries=4, first_retry=1.0, longest_retry=3.0)
    delays = []
    lane.run()
    while lane.lane.stopped is None:
        wait = lane.lane.waits_until() - lane.clock.monotonic()
        delays.append(wait)
        lane.clock.advance(wait * 0.99)
        lane.run()
        assert lane.lane.failure.attempts == len(delays)
        lane.clock.advance(wait * 0.02)
        lane.run()
    assert len(delays) == 4
    for wait, full in zip(delays, [1.0, 2.0, 3.0, 3.0], strict=True):
        assert 0.75 * full <= wait <= full
    assert module.calls.count(5) == 5


def test_what_came_before_a_failing_event_is_visible_and_stored_and_its_change_is_undone(
    rig, store, module
):
    append(store, *range(10))
    module.hook = fails_at(5)
    lane = rig()
    lane.run()
    assert lane.handled() == [1, 2, 3, 4]
    assert stored(store).position == 4
    assert isinstance(lane.lane.error, ZeroDivisionError)
    assert lane.lane.stopped is None


def test_an_event_that_succeeds_at_last_is_handled_once(rig, store, module):
    append(store, *range(10))
    failures = [1, 2]

    def fail_twice(event, state):
        if event.position == 5 and failures:
            failures.pop()
            raise ZeroDivisionError

    module.hook = fail_twice
    lane = rig()
    lane.run_on()
    assert lane.handled() == list(range(1, 11))
    assert lane.state["sum"] == 45
    assert lane.lane.failure is None
    assert lane.lane.error is None


def test_after_all_retries_it_stops_in_front_of_the_event(rig, store, module):
    append(store, *range(10))
    module.hook = fails_at(5)
    lane = rig(retries=2)
    lane.run_on()
    assert isinstance(lane.lane.stopped, ZeroDivisionError)
    assert lane.lane.error is lane.lane.stopped
    assert lane.handled() == [1, 2, 3, 4]
    assert stored(store).position == 4
    calls = len(module.calls)
    assert not lane.lane.advance(1)
    assert len(module.calls) == calls
    assert lane.lane.waits_until() == float("inf")


def test_without_retries_the_first_failure_is_the_last(rig, store, module):
    append(store, *range(10))
    module.hook = fails_at(5)
    lane = rig(retries=0)
    lane.run()
    assert lane.lane.stopped is not None
    assert module.calls.count(5) == 1


def test_an_event_can_be_put_aside(rig, store, module):
    append(store, *range(10))
    module.hook = fails_at(5, 8)
    lane = rig(retries=1, on_failure="park")
    lane.run_on()
    assert lane.handled() == [1, 2, 3, 4, 6, 7, 9, 10]
    first, second = lane.lane.progress.parked
    assert first[:4] == (5, STREAM, 5, "added")
    assert (first.error, first.attempts) == ("ZeroDivisionError: at 5", 2)
    assert first.timestamp >= 1_000_000
    assert second.position == 8
    assert stored(store).parked == (first, second)


def test_with_one_parked_event_too_many_it_stops(rig, store, module):
    append(store, *range(10))
    module.hook = fails_at(2, 4, 6)
    lane = rig(retries=0, on_failure="park", parked_limit=2)
    lane.run_on()
    assert isinstance(lane.lane.stopped, ZeroDivisionError)
    assert [one.position for one in lane.lane.progress.parked] == [2, 4]
    assert lane.handled() == [1, 3, 5]


def test_the_first_and_the_last_event_may_fail_too(rig, store, module):
    append(store, *range(5))
    module.hook = fails_at(1, 5)
    lane = rig(retries=0, on_failure="park")
    lane.run_on()
    assert lane.handled() == [2, 3, 4]
    assert lane.lane.progress.position == 5


def test_all_of_them_may_fail(rig, store, module):
    append(store, *range(30))
    module.hook = fails_at(*range(1, 31))
    lane = rig(retries=1, on_failure="park")
    lane.run_on()
    assert lane.handled() == []
    assert len(lane.lane.progress.parked) == 30


def test_a_payload_that_cannot_be_decoded_is_its_events_fault(store, module):
    append(store, *range(5))

    def unpack(body):
        value = store._unpack(body)
        if value["n"] == 2:
            raise CorruptStore("this payload")
        return value

    lane = LaneRig(store, module, on_failure="park", retries=0)
    lane.definition._unpackers["thing"] = unpack
    lane.begin()
    lane.run_on()
    assert lane.handled() == [1, 2, 4, 5]
    assert lane.lane.progress.parked[0].error == "CorruptStore: this payload"


def test_errors_are_kept_in_words_of_bounded_length_that_can_be_stored():
    assert in_words(ValueError("bad")) == "ValueError: bad"
    assert in_words(ValueError("\ud800")) == "ValueError: \\ud800"
    long = in_words(ValueError("x" * 5000))
    assert len(long) == 1000
    assert long.endswith("…")


def test_an_error_without_a_message_to_be_had_is_kept_by_its_type():
    assert in_words(Unspeakable()) == "Unspeakable"


@pytest.mark.parametrize("on_failure", ["stop", "park"])
@pytest.mark.parametrize("error", [Frozen(1), Unspeakable()], ids=["frozen", "unspeakable"])
def test_an_error_that_takes_no_note_or_has_no_message_is_dealt_with_as_any_other(
    rig, store, module, error, on_failure
):
    def fail(event, _state):
        if event.position == 5:
            raise error

    append(store, *range(10))
    module.hook = fail
    lane = rig(retries=1, on_failure=on_failure)
    lane.run_on()
    assert module.calls.count(5) == 2
    if on_failure == "stop":
        assert lane.lane.stopped is error
    else:
        assert [one.position for one in lane.lane.progress.parked] == [5]
        assert lane.lane.progress.position == 10


def test_an_error_says_once_which_event_it_met(rig, store, module):
    append(store, *range(10))
    always = ZeroDivisionError("the same each time")

    def fail(event, state):
        if event.position == 5:
            raise always

    module.hook = fail
    rig(retries=3).run_on()
    assert len(always.__notes__) == 1
    assert "event 5 of ('thing', 'a'), at position 5" in always.__notes__[0]


def test_a_handler_that_forgets_to_return_the_state_is_found_at_that_very_event(store):
    class Forgetful(Sums):
        def handle_event(self, event, state):
            state = super().handle_event(event, state or self.init())
            return None if event.position == 4 else state

    append(store, *range(10))
    lane = LaneRig(store, Forgetful(), retries=0, on_failure="park").begin()
    lane.run_on()
    assert [one.position for one in lane.lane.progress.parked] == [4]
    assert "return the state" in lane.lane.progress.parked[0].error
    assert lane.handled() == [1, 2, 3, 5, 6, 7, 8, 9, 10]


class Awaited(StateModel):
    """One for whose commit somebody waits."""

    def is_awaited(self):
        return True


def test_a_page_ends_early_when_somebody_waits_for_its_commit(store, module):
    append(store, *range(1000))
    lane = LaneRig(store, module, Awaited(Definition("sums", module), store, KEY))
    lane.begin()
    assert max(pages(lane)) <= _CHUNK
    assert lane.handled() == list(range(1, 1001))


@pytest.mark.parametrize("culprit", [150, 450])
def test_in_a_large_page_too_the_failing_event_is_found(rig, store, module, culprit):
    append(store, *range(1000))
    module.hook = fails_at(culprit)
    lane = rig(retries=0, on_failure="park")
    lane.lane._pages.size = 600
    lane.run_on()
    assert lane.handled() == [one for one in range(1, 1001) if one != culprit]


# A state that cannot be stored.


@pytest.mark.parametrize("culprit", [1, 2, 17, 50, 99, 100])
def test_a_state_that_cannot_be_stored_is_traced_to_its_event(rig, store, module, culprit):
    append(store, *range(100))
    module.hook = spoils_at(culprit)
    lane = rig(retries=1, on_failure="park", checkpoint_seconds=1000.0)
    lane.run_on()
    assert [one.position for one in lane.lane.progress.parked] == [culprit]
    assert "NotStorable" in lane.lane.progress.parked[0].error
    assert lane.handled() == [one for one in range(1, 101) if one != culprit]
    assert stored(store).position == 100


def test_finding_it_takes_few_handlings(rig, store, module):
    append(store, *range(1000))
    module.hook = spoils_at(700)
    lane = rig(retries=0, on_failure="park")
    lane.run_on()
    assert len(module.calls) < 6 * 1000


def test_several_states_that_cannot_be_stored_are_traced_one_after_the_other(rig, store, module):
    append(store, *range(60))
    module.hook = spoils_at(3, 4, 30, 60)
    lane = rig(retries=0, on_failure="park")
    lane.run_on()
    assert [one.position for one in lane.lane.progress.parked] == [3, 4, 30, 60]
    assert len(lane.handled()) == 56


def test_it_stops_in_front_of_the_event_that_spoils_the_state(rig, store, module):
    append(store, *range(40))
    module.hook = spoils_at(20)
    lane = rig(retries=1)
    lane.run_on()
    assert isinstance(lane.lane.stopped, NotStorable)
    assert lane.handled() == list(range(1, 20))


@pytest.mark.parametrize("on_failure", ["park", "stop"])
@pytest.mark.parametrize("retries", [0, 1, 3])
def test_no_event_is_lost_between_one_that_spoils_the_state_and_one_that_fails(
    rig, store, module, on_failure, retries
):
    append(store, 0)
    lane = rig(retries=retries, on_failure=on_failure, checkpoint_seconds=1000.0)
    lane.run()
    append(store, *range(10))
    spoil, fail, failures = spoils_at(5), fails_at(9), []

    def hook(event, state):
        spoil(event, state)
        if event.position == 9 and not failures:  # and never again
            failures.append(event)
            fail(event, state)

    module.hook = hook
    lane.run_on()
    if on_failure == "stop":
        assert lane.handled() == [1, 2, 3, 4]
        assert isinstance(lane.lane.stopped, NotStorable)
    else:
        parked = [one.position for one in lane.lane.progress.parked]
        assert parked in ([5], [5, 9])
        assert lane.handled() == [one for one in range(1, 12) if one not in parked]


def test_events_it_passes_over_are_never_the_culprits(rig, store):
    module = Sums(event_types={"added"})
    module.hook = spoils_at(3)
    append(store, 1)
    append(store, 2, type="other")
    append(store, 3)
    append(store, *range(20), type="other")
    lane = LaneRig(store, module, retries=0, on_failure="park").begin()
    lane.run_on()
    assert lane.handled() == [1]
    assert [one.position for one in lane.lane.progress.parked] == [3]


# The store.


@pytest.mark.parametrize("error", [StoreUnavailable("down"), CorruptStore("damaged")])
def test_a_log_that_cannot_be_read_loses_nothing(rig, store, module, error):
    append(store, *range(10))
    lane = rig()

    def fail():
        raise error

    store.before["fold_all"] = once(fail)
    with pytest.raises(type(error)):
        lane.lane.advance(1)
    lane.run()
    assert lane.handled() == list(range(1, 11))


def test_an_error_a_store_should_not_raise_counts_as_one_that_is_down(rig, store):
    append(store, 1)
    store.before["fold_all"] = lambda: 1 / 0
    with pytest.raises(StoreUnavailable) as caught:
        rig().lane.advance(1)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("fail", [unavailable, stale])
def test_a_commit_that_fails_loses_nothing_and_blames_no_event(rig, store, module, fail, moment):
    append(store, *range(10))
    lane = rig(on_failure="park", retries=0)
    getattr(store, moment)["save_checkpoints"] = once(fail)
    with pytest.raises((StoreUnavailable, StaleEpoch)):
        lane.run()
    assert lane.handled() == list(range(1, 11))
    append(store, 11)
    lane.run_on()
    assert lane.handled() == module.calls == list(range(1, 12))
    assert lane.lane.progress.parked == ()
    assert stored(store) == lane.lane.progress


def test_what_could_not_be_stored_is_stored_as_soon_as_the_store_is_back(rig, store):
    append(store, *range(10))
    lane = rig()
    store.before["save_checkpoints"] = unavailable
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            lane.lane.advance(1)
    del store.before["save_checkpoints"]
    lane.run()
    assert stored(store).position == 10


def test_a_store_that_is_down_while_an_event_is_parked_keeps_all(rig, store, module):
    append(store, *range(10))
    module.hook = fails_at(5)
    lane = rig(on_failure="park", retries=0)
    lane.lane.advance(1)
    store.before["save_checkpoints"] = unavailable
    for _ in range(4):
        with pytest.raises(StoreUnavailable):
            lane.run()
        lane.clock.advance(1000)
    del store.before["save_checkpoints"]
    lane.run_on()
    assert lane.handled() == [1, 2, 3, 4, 6, 7, 8, 9, 10]
    assert stored(store).position == 10


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("numbers", [1, 10])
def test_an_error_a_store_should_not_raise_at_a_commit_blames_no_event(
    rig, store, module, moment, numbers
):
    append(store, *range(numbers))
    lane = rig(on_failure="park", retries=0)
    getattr(store, moment)["save_checkpoints"] = once(lambda: 1 / 0)
    with pytest.raises(StoreUnavailable, match="ZeroDivisionError"):
        lane.run()
    lane.run_on()
    assert lane.handled() == module.calls == list(range(1, numbers + 1))
    assert stored(store) == lane.lane.progress


@pytest.mark.parametrize("moment", ["before", "after"])
def test_such_an_error_while_an_event_is_parked_blames_no_other(rig, store, module, moment):
    append(store, *range(10))
    module.hook = fails_at(5)
    lane = rig(on_failure="park", retries=0)
    while not lane.lane.progress.parked:
        if lane.lane.committed.position == 4:
            getattr(store, moment)["save_checkpoints"] = once(lambda: 1 / 0)
            with pytest.raises(StoreUnavailable):
                lane.run()
        else:
            lane.lane.advance(1)
    lane.run_on()
    assert lane.handled() == [1, 2, 3, 4, 6, 7, 8, 9, 10]
    assert [one.position for one in lane.lane.progress.parked] == [5]
    assert stored(store) == lane.lane.progress


def test_such_an_error_has_no_callback_called_again(store):
    append(store, *range(3))
    got = []
    lane = calling(store, lambda event: got.append(event.position))
    store.before["save_checkpoints"] = once(lambda: 1 / 0)
    with pytest.raises(StoreUnavailable):
        lane.lane.advance(1)
    lane.run()
    assert got == [1, 2, 3]
    assert stored(store).position == 3


def test_a_handler_that_meets_a_store_that_is_down_is_not_blamed(rig, store, module):
    append(store, *range(10))
    module.hook = lambda event, state: event.position == 5 and down.pop()()
    down = [unavailable, unavailable]
    lane = rig(on_failure="park", retries=0)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            lane.lane.advance(1)
    module.hook = lambda *_: None
    lane.run()
    assert lane.handled() == list(range(1, 11))


def test_a_filter_that_meets_a_store_that_is_down_is_not_blamed(store):
    append(store, *range(10))
    asking = once(unavailable)
    module = Sums(event_filter=lambda event: event.position != 5 or asking() is None)
    lane = LaneRig(store, module, on_failure="park", retries=0).begin()
    with pytest.raises(StoreUnavailable):
        lane.lane.advance(1)
    lane.run()
    assert lane.handled() == list(range(1, 11))


class Losing(StateModel):
    """One that has to ask a store to undo, which may be down."""

    down = False

    def undo(self, slot):
        if self.down:
            unavailable()
        return super().undo(slot)


def test_an_undo_that_fails_is_made_good_before_anything_else(store, module):
    append(store, *range(10))
    module.hook = fails_at(5)
    model = Losing(Definition("sums", module), store, KEY)
    lane = LaneRig(store, module, model, on_failure="park", retries=0)
    lane.begin()
    lane.run_on()
    append(store, *range(10))
    module.hook = fails_at(5, 15)
    aside = lane.lane.progress.parked[0]
    model.down = True
    for attempt in (
        lambda: lane.lane.advance(1),
        lambda: lane.lane.advance(1),
        lambda: lane.lane.retry(aside, 1),
        lambda: lane.lane.discard(aside, 1),
    ):
        with pytest.raises(StoreUnavailable):
            attempt()
    model.down = False
    lane.lane.discard(aside, 1)
    assert lane.lane.progress.discarded == (5,)
    lane.run_on()
    assert lane.handled() == [one for one in range(1, 21) if one not in (5, 15)]


# Without a lease.


def test_without_a_lease_it_follows_and_stores_nothing(rig, store, module):
    append(store, *range(50))
    lane = rig()
    lane.epoch = None
    lane.run_on()
    assert lane.handled() == list(range(1, 51))
    assert store.saves == []


# What is done is done.


def calling(store, callback, **options):
    module = Sums(version="1")
    return LaneRig(store, module, CallbackModel(callback, store, KEY), **options).begin()


def test_a_callback_that_fails_is_not_called_again_with_what_came_before(store):
    append(store, *range(10))
    got = []

    def callback(event):
        got.append(event.position)
        if event.position == 5:
            raise ZeroDivisionError

    lane = calling(store, callback, retries=2, on_failure="park")
    lane.run_on()
    assert got == [1, 2, 3, 4, 5, 5, 5, 6, 7, 8, 9, 10]
    check_ledger(lane.lane.progress, list(range(1, 11)))
    assert stored(store) == lane.lane.progress
    assert [one.position for one in lane.lane.progress.parked] == [5]


def test_a_callback_is_not_called_again_because_the_position_could_not_be_stored(store):
    append(store, *range(10))
    got = []
    lane = calling(store, lambda event: got.append(event.position))
    store.before["save_checkpoints"] = unavailable
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            lane.lane.advance(1)
    del store.before["save_checkpoints"]
    lane.run()
    assert got == list(range(1, 11))
    assert stored(store).position == 10


def test_while_a_callbacks_position_cannot_be_stored_it_is_called_with_one_page_at_most(store):
    append(store, *range(200))
    got = []
    lane = calling(store, lambda event: got.append(event.position))
    store.before["save_checkpoints"] = unavailable
    for _ in range(10):
        with pytest.raises(StoreUnavailable):
            lane.lane.advance(1)
    assert got == list(range(1, SMALLEST + 1))
    del store.before["save_checkpoints"]
    lane.run()
    assert got == list(range(1, 201))


# Parked events.


def parked(rig, store, module, *positions, numbers=10):
    append(store, *range(numbers))
    module.hook = fails_at(*positions)
    lane = rig(retries=0, on_failure="park")
    lane.run_on()
    return lane


def test_a_parked_event_can_be_handled_later(rig, store, module):
    lane = parked(rig, store, module, 5, 8)
    generation = lane.lane.progress.generation
    module.hook = lambda *_: None
    lane.lane.retry(lane.lane.progress.parked[0], 1)
    assert [one.position for one in lane.lane.progress.parked] == [8]
    assert lane.state["seen"] == [1, 2, 3, 4, 6, 7, 9, 10, 5]
    check_ledger(lane.lane.progress, list(range(1, 11)))
    assert lane.lane.progress.generation == generation + 1
    assert stored(store) == lane.lane.progress


def test_a_parked_event_that_fails_again_stays_parked(rig, store, module):
    lane = parked(rig, store, module, 5, 8)
    with pytest.raises(ZeroDivisionError):
        lane.lane.retry(lane.lane.progress.parked[0], 1)
    assert lane.handled() == [1, 2, 3, 4, 6, 7, 9, 10]
    assert [(one.position, one.attempts) for one in lane.lane.progress.parked] == [(8, 1), (5, 2)]
    assert stored(store) == lane.lane.progress


def test_a_parked_event_whose_state_cannot_be_stored_stays_parked(rig, store, module):
    lane = parked(rig, store, module, 5)
    module.hook = spoils_at(5)
    with pytest.raises(NotStorable):
        lane.lane.retry(lane.lane.progress.parked[0], 1)
    assert lane.handled() == [1, 2, 3, 4, 6, 7, 8, 9, 10]
    assert "NotStorable" in lane.lane.progress.parked[0].error


def test_a_parked_event_that_the_filter_now_passes_over_is_parked_no_more(rig, store, module):
    lane = parked(rig, store, module, 5)
    lane.definition.event_filter = lambda event: False
    lane.lane.retry(lane.lane.progress.parked[0], 1)
    assert lane.lane.progress.parked == ()
    assert 5 not in lane.state["seen"]


def test_a_retry_while_the_store_is_down_changes_no_attempts(rig, store, module):
    lane = parked(rig, store, module, 5)
    aside = lane.lane.progress.parked[0]
    store.before["fold_all"] = once(unavailable)
    with pytest.raises(StoreUnavailable):
        lane.lane.retry(aside, 1)
    assert lane.lane.progress.parked == (aside,)
    module.hook = lambda *_: unavailable()
    with pytest.raises(StoreUnavailable):
        lane.lane.retry(aside, 1)
    assert lane.lane.progress.parked == (aside,)
    assert lane.handled() == [1, 2, 3, 4, 6, 7, 8, 9, 10]


def test_what_was_handled_before_a_retry_is_stored_with_it(rig, store, module):
    lane = parked(rig, store, module, 5)
    module.hook = lambda *_: None
    append(store, 10, 11)
    lane.run()
    lane.lane.retry(lane.lane.progress.parked[0], 1)
    assert stored(store).position == 12
    assert lane.state["seen"][-3:] == [11, 12, 5]


def test_a_parked_event_can_be_given_up(rig, store, module):
    lane = parked(rig, store, module, 5, 8)
    lane.lane.discard(lane.lane.progress.parked[1], 1)
    assert lane.lane.progress.discarded == (8,)
    assert [one.position for one in lane.lane.progress.parked] == [5]
    assert stored(store) == lane.lane.progress
    lane.handled()


# Proofs.


def test_what_was_proved_is_stored(rig, store, module):
    append(store, *range(10))
    lane = rig()
    lane.run()
    lane.lane.note_proved(11, 1)
    assert lane.lane.progress.ledger == Ledger().after(list(range(1, 11)), 10).proved_before(11)
    assert stored(store) == lane.lane.progress == lane.lane.committed
    append(store, 10)
    lane.run_on()
    assert lane.handled() == list(range(1, 12))


def test_a_proof_of_what_had_to_be_undone_proves_nothing(rig, store, module):
    append(store, 0)
    lane = rig(checkpoint_seconds=1000.0, retries=0)
    lane.run()
    append(store, 1, 2, 3)
    module.hook = spoils_at(4)
    lane.run()
    lane.lane.note_proved(5, 1)
    assert lane.lane.progress.ledger.reached == lane.lane.progress.position
    lane.run_on()
    assert lane.handled() == [1, 2, 3]


def test_loading_again_forgets_what_failed(rig, store, module):
    append(store, *range(10))
    module.hook = fails_at(5)
    lane = rig(retries=0)
    lane.run_on()
    assert lane.lane.stopped is not None
    module.hook = lambda *_: None
    assert lane.lane.load()
    assert lane.lane.error is None
    lane.run()
    assert lane.handled() == list(range(1, 11))


def test_a_damaged_checkpoint_is_said_to_be_damaged(rig, store):
    store.save_checkpoints(KEY, 1, {SERVING: Checkpoint(1, "1", b"", b"\xc1")})
    with pytest.raises(CorruptStore):
        rig().lane.load()
