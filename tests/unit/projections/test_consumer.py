"""A lane that one process at a time may move: its lease, outages, and what others see."""

import pytest
from projecting_helpers import (
    EXPIRED,
    KEY,
    ProbedStore,
    Process,
    Sums,
    append,
    fails_at,
    once,
    spoils_at,
    unavailable,
)

from eskernel.errors import CorruptStore, StaleEpoch, StoreUnavailable
from eskernel.projections.callback_model import CallbackModel
from eskernel.projections.consumer import Consumer
from eskernel.projections.progress import Progress
from eskernel.projections.view import Status
from eskernel.values import SERVING, Checkpoint
from eskernel_stores.sql import SqlStore


@pytest.fixture
def store():
    return ProbedStore()


@pytest.fixture
def process(store):
    """Makes processes that consume one projection."""

    def process(owner="me", module=None, **options):
        return Process(store, module or Sums(), owner, kind=Consumer, **options)

    return process


def stored(store):
    return Progress.of(store.load_checkpoint(KEY))


def stale():
    raise StaleEpoch(KEY, 1, 2)


# Work.


def test_it_works_until_it_has_seen_everything(process, store):
    append(store, *range(50))
    mine = process()
    assert mine.view.status is Status.STARTING
    assert mine.step() == 0
    assert mine.view.status is Status.CATCHING_UP
    assert mine.run() == pytest.approx(0.001)  # its lease wants to be renewed at once
    assert (mine.view.status, mine.view.position) == (Status.LIVE, 50)
    assert mine.view.version == "1"
    assert mine.handled() == list(range(1, 51))


def test_it_looks_again_after_its_poll_interval(process, store):
    mine = process(lease_seconds=100, poll_interval=7.0)
    assert mine.run() == 7.0
    append(store, 1)
    mine.run()
    assert mine.view.position == 1


def test_it_looks_again_in_time_for_a_checkpoint_that_is_due(process, store):
    append(store, 1)
    mine = process(lease_seconds=100, poll_interval=50, checkpoint_seconds=4.0)
    mine.run()
    append(store, 2)
    assert 4.0 <= mine.run() < 50
    mine.clock.advance(1000)
    mine.run()
    assert stored(store).position == 2


def test_it_goes_on_where_another_life_of_it_ended(process, store):
    append(store, *range(10))
    mine = process()
    mine.run()
    mine.consumer.release()
    append(store, 10)
    store.handed.clear()
    mine.restart()
    mine.run()
    assert store.handed == [11]
    assert mine.handled() == list(range(1, 12))


def test_a_crash_repeats_what_was_not_committed_and_nobody_can_tell(process, store):
    append(store, *range(10))
    mine = process(checkpoint_seconds=1000.0)
    mine.run()
    append(store, *range(10))
    mine.run()
    assert stored(store).position < 20
    mine.restart()
    mine.run()
    assert mine.handled() == list(range(1, 21))


def test_it_may_begin_after_a_position(process, store):
    append(store, *range(10))
    got = []
    mine = process(
        start=7, model=lambda _: CallbackModel(lambda event: got.append(event.position), store, KEY)
    )
    mine.run()
    assert got == [8, 9, 10]


# The lease.


def test_the_first_to_ask_works_and_the_others_follow(process, store):
    append(store, *range(10))
    mine, other = process("mine", lease_seconds=60), process("other", lease_seconds=60)
    mine.run()
    other.run()
    assert (mine.consumer.active, other.consumer.active) == (True, False)
    assert other.view.position == 10
    assert other.handled() == list(range(1, 11))
    saves = len(store.saves)
    append(store, 1)
    other.run_on(0.0)
    assert other.view.position == 11
    assert len(store.saves) == saves


def test_a_lease_is_renewed_long_before_it_runs_out(process, store):
    mine = process(lease_seconds=60)
    mine.run()
    asked = []
    store.before["acquire_lease"] = lambda: asked.append(mine.clock.monotonic())
    for _ in range(30):
        mine.clock.advance(4)
        mine.run()
    assert asked
    gaps = [after - before for before, after in zip([0, *asked], asked, strict=False)]
    assert max(gaps) <= 30
    assert mine.consumer.active


def test_a_follower_asks_again_by_the_time_the_lease_ends(process, store):
    process("mine", lease_seconds=1000.0).run()
    mine = process("other", lease_seconds=9000.0, poll_interval=5000.0)
    assert mine.run() <= 1000.0
    follower = process("third", lease_seconds=6.0, poll_interval=5000.0)
    assert follower.run() == pytest.approx(2.0)


def test_another_process_takes_over_and_goes_on_where_the_first_has_stored(process, store):
    append(store, *range(10))
    mine = process("mine")
    mine.run()
    append(store, *range(10))
    mine.run()
    other = process("other", lease_seconds=60)
    other.run()
    assert other.consumer.active
    assert other.handled() == list(range(1, 21))
    other.clock.advance(1000.0)
    other.run()
    assert stored(store).position == 20


def test_who_lost_the_lease_writes_nothing_more_and_follows(process, store):
    append(store, *range(10))
    mine = process("mine")
    mine.run()
    other = process("other", lease_seconds=60)
    other.run()
    other.consumer.release()
    other.clock.advance(1)
    taken = process("third", lease_seconds=60)
    taken.run()
    append(store, *range(5))
    epoch = store.load_checkpoint(KEY).epoch
    mine.consumer.lease.ask_at = float("inf")  # it does not know
    mine.clock.advance(1000)
    mine.run()
    assert not mine.consumer.active
    assert store.load_checkpoint(KEY).epoch == epoch
    assert mine.handled() == list(range(1, 16))
    taken.run()
    assert taken.handled() == list(range(1, 16))


def test_when_a_commit_comes_too_late_the_lease_is_asked_for_anew(process, store):
    append(store, *range(10))
    mine = process(lease_seconds=60)
    store.before["save_checkpoints"] = once(stale)
    assert mine.step() == 0
    assert not mine.consumer.active
    mine.run_on()
    assert mine.consumer.active
    assert mine.handled() == list(range(1, 11))
    assert stored(store).position == 10


def test_a_lease_that_is_given_back_is_taken_at_the_next_look(process, store):
    append(store, *range(10))
    mine, other = process("mine", lease_seconds=60), process("other", lease_seconds=60)
    mine.run()
    other.run()
    append(store, 10)
    mine.run()
    mine.consumer.release()
    assert stored(store).position == 11
    other.clock.advance(60)
    other.run()
    assert other.consumer.active
    assert other.handled() == list(range(1, 12))


def test_released_twice_or_before_it_began_it_does_nothing(process, store):
    mine = process()
    mine.consumer.release()
    mine.run()
    mine.consumer.release()
    mine.consumer.release()
    assert not mine.consumer.active
    mine.consumer.close()


def test_one_that_has_stopped_gives_its_lease_back_and_stores_nothing(process, store):
    append(store, *range(10))
    module = Sums()
    module.hook = fails_at(5)
    mine = process(module=module, retries=0, lease_seconds=60)
    mine.run_on()
    saves = len(store.saves)
    mine.consumer.release()
    assert len(store.saves) == saves
    other = process("other", lease_seconds=60)
    other.run()
    assert other.consumer.active


def test_an_abandoned_lease_is_free_and_what_was_not_stored_is_done_again(process, store):
    append(store, *range(10))
    mine = process("mine", lease_seconds=60, checkpoint_seconds=1000.0)
    mine.run()
    append(store, 10)
    mine.run()
    mine.consumer.abandon()
    assert stored(store).position < 11
    other = process("other", lease_seconds=60)
    other.run()
    assert other.consumer.active
    assert other.handled() == list(range(1, 12))


def test_what_needs_no_checkpoints_needs_no_lease(process, store):
    append(store, *range(10))
    got = []
    mine = process(
        checkpoints=False,
        poll_interval=9.0,
        model=lambda _: CallbackModel(lambda event: got.append(event.position), None, KEY),
    )
    store.before["acquire_lease"] = store.before["save_checkpoints"] = unavailable
    assert mine.run() == 9.0
    assert got == list(range(1, 11))
    assert (mine.view.status, mine.consumer.active) == (Status.LIVE, True)
    mine.consumer.release()
    assert mine.view.position == 10


def test_of_a_callback_one_process_calls_and_the_others_see_how_far_it_is(process, store):
    append(store, *range(10))
    got = []

    def model(_):
        return CallbackModel(lambda event: got.append(event.position), store, KEY)

    mine = process("mine", model=model, lease_seconds=60)
    other = process("other", model=model, lease_seconds=60)
    mine.run()
    other.run()
    assert got == list(range(1, 11))
    assert (other.view.status, other.view.position) == (Status.FOLLOWING, 10)
    mine.consumer.release()
    append(store, 10)
    other.clock.advance(60)
    other.run()
    assert got == list(range(1, 12))
    assert other.view.status is Status.LIVE


def test_a_follower_that_nothing_was_stored_for_waits(process, store):
    store.acquire_lease(KEY, "somebody", 60)
    mine = process(lease_seconds=60, model=lambda _: CallbackModel(print, store, KEY))
    append(store, 1)
    mine.run()
    assert (mine.view.status, mine.view.position) == (Status.FOLLOWING, 0)


def test_a_follower_begins_with_nothing_where_nothing_is_stored_yet(process, store):
    store.acquire_lease(KEY, "somebody", 60)
    append(store, *range(10))
    mine = process(lease_seconds=60)
    mine.run()
    assert (mine.consumer.active, store.saves) == (False, [])
    assert mine.handled() == list(range(1, 11))


def calling(process, store, got, **options):
    """Return a process whose consumer calls back, and asks whether the lease is still its own."""
    models = []

    def callback(event):
        got.append(event.position)
        mine.module.hook(event, None)

    def model(_):
        models.append(CallbackModel(callback, store, KEY))
        return models[-1]

    mine = process(model=model, **options)
    models[-1].is_ours = mine.consumer.lease.is_valid
    return mine


def test_no_callback_is_called_after_the_lease_has_run_out(process, store):
    append(store, *range(10))
    got = []
    mine = calling(process, store, got, lease_seconds=60, first_retry=2.0)
    mine.module.hook = lambda event, _: event.position == 4 and mine.clock.advance(61)
    mine.step()
    assert got == [1, 2, 3, 4]
    assert "lease ran out while callbacks took their time" in str(mine.view.error)
    mine.run_on(1.0)
    assert got == list(range(1, 11))
    assert stored(store).position == 10


def test_without_checkpoints_there_is_no_lease_to_run_out(process, store):
    append(store, *range(10))
    got = []
    mine = calling(process, store, got, checkpoints=False)
    mine.module.hook = lambda event, _: mine.clock.advance(1e6)
    mine.run()
    assert got == list(range(1, 11))


# Failures.


@pytest.mark.parametrize(
    "method", ["fold_all", "acquire_lease", "load_checkpoint", "save_checkpoints"]
)
@pytest.mark.parametrize("fail", [unavailable, lambda: 1 / 0])
def test_a_store_that_is_down_is_asked_again_with_growing_delays(process, store, method, fail):
    append(store, *range(10))
    mine = process(lease_seconds=60, first_retry=1.0, longest_retry=4.0)
    store.before[method] = fail
    delays = []
    while len(delays) < 5:
        pause = mine.step()
        assert mine.view.status is Status.RETRYING
        assert isinstance(mine.view.error, StoreUnavailable | ZeroDivisionError)
        delays.append(pause)
    for pause, full in zip(delays, [1.0, 2.0, 4.0, 4.0, 4.0], strict=True):
        assert 0.75 * full <= pause <= full
    del store.before[method]
    mine.run()
    assert (mine.view.status, mine.view.error) == (Status.LIVE, None)
    assert mine.handled() == list(range(1, 11))
    store.before[method] = once(fail)
    mine.clock.advance(1000)
    append(store, 10)
    assert mine.run() < 5
    mine.run_on()
    assert mine.handled() == list(range(1, 12))


def test_what_is_handled_is_visible_although_it_cannot_be_stored(process, store):
    mine = process()
    mine.run()
    append(store, *range(10))
    mine.clock.advance(1000)
    store.before["save_checkpoints"] = unavailable
    mine.step()
    assert mine.view.position == 10


def test_what_could_not_be_stored_is_stored_when_the_lease_is_given_back(process, store):
    mine = process()
    mine.run()
    append(store, *range(10))
    mine.clock.advance(1000)
    store.before["save_checkpoints"] = unavailable
    mine.step()
    del store.before["save_checkpoints"]
    mine.consumer.release()
    assert stored(store).position == 10


def test_a_failing_event_is_shown_until_it_succeeds(process, store):
    append(store, *range(10))
    module = Sums()
    module.hook = fails_at(5)
    mine = process(module=module, lease_seconds=60, first_retry=2.0, poll_interval=50)
    assert 1.5 <= mine.run() <= 2.0
    assert (mine.view.status, mine.view.position) == (Status.RETRYING, 4)
    assert isinstance(mine.view.error, ZeroDivisionError)
    module.hook = lambda *_: None
    mine.clock.advance(2)
    mine.run()
    assert (mine.view.status, mine.view.error, mine.view.position) == (Status.LIVE, None, 10)


def test_an_error_that_cannot_be_compared_is_shown_as_any_other(process, store):
    class Incomparable(Exception):
        def __eq__(self, other):
            raise RuntimeError("not to be compared")

        __hash__ = Exception.__hash__

    def fail(event, _state):
        if event.position == 5:
            raise Incomparable

    append(store, *range(10))
    module = Sums()
    module.hook = fail
    mine = process(module=module, retries=1)
    mine.run_on()
    assert mine.view.status is Status.STOPPED
    assert isinstance(mine.view.error, Incomparable)


def test_one_that_has_stopped_says_why_and_still_renews_its_lease(process, store):
    append(store, *range(10))
    module = Sums()
    module.hook = fails_at(5)
    mine = process(module=module, retries=1)
    mine.run_on()
    assert (mine.view.status, mine.view.position) == (Status.STOPPED, 4)
    assert isinstance(mine.view.error, ZeroDivisionError)
    asked = []
    store.before["acquire_lease"] = lambda: asked.append(1)
    mine.clock.advance(1000)
    mine.run()
    assert asked


def test_parked_events_are_shown(process, store):
    append(store, *range(10))
    module = Sums()
    module.hook = spoils_at(5)
    mine = process(module=module, retries=0, on_failure="park")
    mine.run_on()
    assert [one.position for one in mine.view.parked] == [5]
    assert (mine.view.status, mine.view.position) == (Status.LIVE, 10)


def test_a_damaged_log_stops_it(process, store):
    append(store, *range(10))
    mine = process(lease_seconds=60, poll_interval=3.0)

    def damaged():
        raise CorruptStore("damaged")

    store.before["fold_all"] = damaged
    assert mine.step() == 3.0
    assert mine.view.status is Status.STOPPED
    assert isinstance(mine.view.error, CorruptStore)
    assert mine.run() <= 3.0


def test_a_damaged_checkpoint_stops_it_and_stays_as_it_is(process, store):
    damaged = Checkpoint(3, "1", b"", b"\xc1")
    store.save_checkpoints(KEY, 1, {SERVING: damaged})
    append(store, *range(10))
    mine = process()
    mine.run_on()
    assert mine.view.status is Status.STOPPED
    assert isinstance(mine.view.error, CorruptStore)
    mine.consumer.release()
    assert store.load_checkpoint(KEY)[:4] == damaged[:4]


def test_an_init_that_raises_stops_it_with_advice(process, store):
    module = Sums()
    module.init = lambda: 1 / 0
    mine = process(module=module)
    mine.run()
    assert mine.view.status is Status.STOPPED
    assert "ZeroDivisionError: division by zero; mend its init" in str(mine.view.error)


def test_an_init_whose_state_cannot_be_stored_stops_it(process, store):
    module = Sums()
    module.init = object
    mine = process(module=module)
    mine.run()
    assert mine.view.status is Status.STOPPED
    assert "state" in str(mine.view.error)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_what_interrupts_the_thread_is_nobodys_failure(process, store, interruption):
    append(store, *range(10))
    module = Sums()
    mine = process(module=module)

    def interrupt(event, state):
        if event.position == 5:
            raise interruption

    module.hook = interrupt
    with pytest.raises(interruption):
        mine.run()
    module.hook = lambda *_: None
    mine.restart()
    mine.run()
    assert mine.handled() == list(range(1, 11))


def test_it_works_on_a_database_too(tmp_path):
    store = SqlStore(f"sqlite:///{tmp_path / 'events.db'}")
    try:
        append(store, *range(50))
        mine = Process(store, Sums(), "mine", kind=Consumer, lease_seconds=60)
        other = Process(store, Sums(), "other", kind=Consumer, lease_seconds=EXPIRED)
        mine.run()
        other.run()
        assert (mine.consumer.active, other.consumer.active) == (True, False)
        append(store, *range(10))
        mine.run()
        mine.consumer.release()
        other.clock.advance(1)
        other.run()
        assert other.consumer.active
        assert mine.handled() == other.handled() == list(range(1, 61))
    finally:
        store.close()
