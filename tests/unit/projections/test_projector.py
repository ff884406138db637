"""A projection at work: rebuilds beside what serves, other versions, rollbacks, parked events."""

import pytest
from projecting_helpers import (
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

from eskernel.errors import CorruptStore, ProjectionBusy, StaleEpoch, StoreUnavailable
from eskernel.projections.progress import Progress
from eskernel.projections.read_model import BUILDING, PREVIOUS
from eskernel.projections.view import Status
from eskernel.values import SERVING


@pytest.fixture
def store():
    return ProbedStore()


@pytest.fixture
def process(store):
    def process(module=None, owner="me", **options):
        return Process(store, module or Sums(), owner, **options)

    return process


def stored(store, slot=SERVING):
    found = store.load_checkpoint(KEY, slot)
    return None if found is None else Progress.of(found)


def whole(state):
    return state


def doubling(**attributes):
    """Return another version of the module, whose sum is twice as much."""
    module = Sums(version="2", **attributes)

    def hook(event, state):
        state["sum"] += event.payload["n"]

    module.hook = hook
    return module


def stale():
    raise StaleEpoch(KEY, 1, 2)


# Rebuilding.


def test_a_rebuild_ends_with_the_same_state_made_anew(process, store):
    append(store, *range(100))
    mine = process()
    mine.run()
    before = mine.state()
    mine.module.calls.clear()
    mine.consumer.rebuild()
    mine.run()
    assert mine.module.calls == list(range(1, 101))
    assert mine.state() == before
    assert mine.view.rebuild is None
    assert mine.consumer.progress.generation == 1
    assert stored(store, BUILDING) is None
    assert stored(store, PREVIOUS).position == 100
    assert mine.handled() == list(range(1, 101))


def test_meanwhile_the_old_state_serves_and_follows(process, store):
    append(store, *range(200))
    mine = process()
    mine.run()
    mine.consumer.rebuild()
    shares = []
    while mine.view.rebuild is None:
        mine.step()
    while mine.view.rebuild is not None:
        shares.append(mine.view.rebuild.share)
        number = append(store, 1)
        assert mine.view.status in (Status.LIVE, Status.CATCHING_UP)
        mine.step()
        assert mine.view.position == number
        assert len(mine.state()["seen"]) >= number - 1
        if number > 210:
            break
    mine.run()
    assert shares == sorted(shares)
    assert mine.handled() == list(range(1, store.last_position() + 1))


def test_a_rebuild_is_seen_from_when_it_was_asked_for_until_it_is_done(process, store):
    append(store, *range(300))
    mine = process()
    mine.run()
    mine.consumer.rebuild()
    assert mine.view.rebuild == (0, 300, None)
    shown = []

    class Noting(type(mine.view)):
        def __setattr__(self, name, value):
            super().__setattr__(name, value)
            if name == "rebuild":
                shown.append(value is not None)

    mine.view.__class__ = Noting
    mine.run()
    assert shown == sorted(shown, reverse=True)  # never away in between


def test_the_rebuild_of_nothing_is_done_at_once(process, store):
    mine = process()
    mine.run()
    mine.consumer.rebuild()
    mine.run()
    assert mine.view.rebuild is None
    assert mine.consumer.progress.generation == 1


def test_a_rebuild_cures_what_was_wrong_with_the_state(process, store):
    append(store, *range(10))
    mine = process()
    mine.run()
    mine.consumer._model._states[SERVING]["sum"] = -1
    mine.consumer.rebuild()
    mine.run()
    assert mine.state()["sum"] == 45


def test_a_rebuild_passes_a_mended_event_that_had_stopped_it(process, store):
    append(store, *range(10))
    module = Sums()
    module.hook = fails_at(5)
    mine = process(module, retries=0)
    mine.run_on()
    assert mine.view.status is Status.STOPPED
    module.hook = lambda *_: None
    mine.consumer.rebuild()
    mine.run()
    assert (mine.view.status, mine.view.error, mine.view.position) == (Status.LIVE, None, 10)
    assert mine.handled() == list(range(1, 11))


def test_a_rebuild_goes_on_after_a_crash(process, store):
    append(store, *range(300))
    mine = process(checkpoint_events=1)
    mine.run()
    mine.consumer.rebuild()
    for _ in range(4):
        mine.step()
    built = stored(store, BUILDING).position
    assert 0 < built < 300
    mine.restart()
    mine.run()
    assert mine.module.calls.count(1) == 2  # once for what served, once for what was built
    assert mine.handled() == list(range(1, 301))
    assert mine.consumer.progress.generation == 1
    assert stored(store, BUILDING) is None


def test_a_rebuild_of_another_process_goes_on_here(process, store):
    append(store, *range(300))
    mine = process(owner="mine", checkpoint_events=1)
    mine.run()
    mine.consumer.rebuild()
    for _ in range(4):
        mine.step()
    other = process(owner="other", lease_seconds=60)
    other.run()
    assert other.consumer.progress.generation == 1
    assert other.handled() == list(range(1, 301))


def test_one_rebuild_at_a_time(process, store):
    append(store, *range(300))
    mine = process()
    mine.run()
    mine.consumer.rebuild()
    with pytest.raises(ProjectionBusy, match="is being rebuilt already"):
        mine.consumer.rebuild()


def test_a_rebuild_that_was_asked_for_is_not_forgotten_before_its_first_step(process, store):
    append(store, *range(30))
    mine = process()
    mine.run()
    mine.consumer.rebuild()
    mine.consumer.resume()
    mine.run()
    assert mine.consumer.progress.generation == 1


def test_a_rebuild_can_be_cancelled(process, store):
    append(store, *range(300))
    mine = process(checkpoint_events=1)
    mine.run()
    with pytest.raises(ProjectionBusy, match="no rebuild can be cancelled: none is under way"):
        mine.consumer.cancel_rebuild()
    mine.consumer.rebuild()
    for _ in range(3):
        mine.step()
    mine.consumer.cancel_rebuild()
    assert stored(store, BUILDING) is None
    mine.run()
    assert mine.view.rebuild is None
    assert mine.consumer.progress.generation == 0
    assert mine.handled() == list(range(1, 301))


def test_a_cancelling_the_store_did_not_do_can_be_repeated(process, store):
    append(store, *range(300))
    mine = process(checkpoint_events=1)
    mine.run()
    mine.consumer.rebuild()
    for _ in range(3):
        mine.step()
    store.before["save_checkpoints"] = once(unavailable)
    with pytest.raises(StoreUnavailable):
        mine.consumer.cancel_rebuild()
    mine.step()
    mine.consumer.cancel_rebuild()
    mine.restart()
    mine.run()
    assert mine.consumer.progress.generation == 0


def test_an_event_that_fails_in_a_rebuild_only_leaves_what_serves_alone(process, store):
    append(store, *range(50))
    mine = process(retries=1)
    mine.run()
    mine.module.hook = fails_at(20)
    mine.consumer.rebuild()
    mine.run_on()
    assert isinstance(mine.view.rebuild.error, ZeroDivisionError)
    assert mine.view.rebuild.position == 19
    assert (mine.view.status, mine.view.error) == (Status.LIVE, None)
    append(store, 50)
    mine.run()
    assert mine.view.position == 51
    mine.module.hook = lambda *_: None
    mine.consumer.resume()
    mine.run()
    assert mine.view.rebuild is None
    assert mine.handled() == list(range(1, 52))


def test_a_rebuild_waits_for_the_next_attempt_of_its_failing_event(process, store):
    append(store, *range(50))
    mine = process(first_retry=2.0, lease_seconds=1e4, poll_interval=100.0, checkpoint_seconds=1e3)
    mine.run()
    mine.module.hook = fails_at(20)
    mine.consumer.rebuild()
    assert 1.5 <= mine.run() <= 2.0


def test_a_log_that_is_damaged_where_only_the_rebuild_reads_leaves_what_serves_alone(
    process, store
):
    append(store, *range(50))
    mine = process()
    mine.run()
    mine.consumer.rebuild()

    def damaged():
        if store.looks[-1].start <= 20:
            raise CorruptStore("damaged")

    store.before["fold_all"] = damaged
    mine.run_on()
    assert isinstance(mine.view.rebuild.error, CorruptStore)
    assert mine.view.status is Status.LIVE
    append(store, 50)
    mine.run()
    assert mine.view.position == 51


@pytest.mark.parametrize("culprit", [1, 10, 50])
def test_a_state_that_cannot_be_stored_holds_a_rebuild_up_at_its_event(process, store, culprit):
    append(store, *range(50))
    mine = process(retries=0, checkpoint_seconds=1000.0)
    mine.run()
    mine.module.hook = spoils_at(culprit)
    mine.consumer.rebuild()
    mine.run_on()
    assert "NotStorable" in repr(mine.view.rebuild.error)
    assert mine.consumer.progress.generation == 0
    assert mine.handled() == list(range(1, 51))


def test_events_that_fail_in_a_rebuild_are_parked_there(process, store):
    append(store, *range(50))
    mine = process(retries=0, on_failure="park")
    mine.run()
    mine.module.hook = fails_at(20, 50)
    mine.consumer.rebuild()
    mine.run_on()
    assert mine.view.rebuild is None
    assert [one.position for one in mine.view.parked] == [20, 50]
    assert mine.handled() == [one for one in range(1, 50) if one != 20]


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("fail", [unavailable, stale, lambda: 1 / 0])
def test_a_switch_the_store_answered_with_an_error_happens_once(process, store, moment, fail):
    append(store, *range(50))
    mine = process()
    mine.run()
    mine.consumer.rebuild()

    saves, failing = store.save_checkpoints, [fail]

    def save(name, epoch, slots):
        if PREVIOUS in slots and failing:
            getattr(store, moment)["save_checkpoints"] = once(failing.pop())
        saves(name, epoch, slots)

    store.save_checkpoints = save
    while failing:
        mine.step()
    store.save_checkpoints = saves
    mine.run_on()
    assert mine.consumer.progress.generation == stored(store).generation == 1
    assert mine.handled() == list(range(1, 51))
    assert mine.view.rebuild is None
    mine.restart()
    mine.run()
    assert mine.handled() == list(range(1, 51))


# Other versions.


def test_another_version_serves_what_it_finds_until_it_has_built_its_own(process, store):
    append(store, *range(100))
    mine = process()
    mine.run()
    mine.consumer.release()
    append(store, 1000)
    mine.restart(doubling())
    mine.step()
    assert mine.view.status is Status.REBUILDING
    assert mine.view.version == "1"
    assert (mine.view.position, mine.state()["sum"]) == (100, 4950)
    mine.run()
    assert (mine.view.status, mine.view.version, mine.view.position) == (Status.LIVE, "2", 101)
    assert mine.state()["sum"] == 2 * 5950
    assert mine.handled() == list(range(1, 102))
    assert stored(store, PREVIOUS).version == "1"


def test_one_of_another_version_without_the_lease_shows_what_the_holder_has_stored(process, store):
    holder = process(lease_seconds=60.0, checkpoint_seconds=0.001)
    append(store, *range(5))
    holder.run_on()
    newer = process(doubling(), owner="newer", lease_seconds=60.0)
    newer.run_on()
    assert (newer.view.status, newer.view.position) == (Status.REBUILDING, 5)
    append(store, *range(5))
    holder.clock.advance(1)
    holder.run_on()
    assert stored(store).position == 10
    newer.clock.advance(21)  # when it looks after the lease
    newer.run_on()
    assert (newer.view.status, newer.view.position) == (Status.REBUILDING, 10)
    assert newer.consumer.read(whole) == holder.consumer.read(whole)


def test_the_rebuild_of_another_version_cannot_be_cancelled(process, store):
    append(store, *range(100))
    mine = process()
    mine.run()
    mine.restart(doubling())
    mine.step()
    with pytest.raises(ProjectionBusy, match="what serves is of another version"):
        mine.consumer.cancel_rebuild()


def test_what_was_built_by_yet_another_version_is_dropped(process, store):
    append(store, *range(300))
    mine = process()
    mine.run()
    mine.restart(doubling())
    for _ in range(3):
        mine.step()
    assert stored(store, BUILDING).version == "2"
    mine.restart(Sums(version="3"))
    mine.run()
    assert mine.view.version == "3"
    assert mine.state()["sum"] == sum(range(300))
    assert mine.handled() == list(range(1, 301))


def test_an_unfinished_rebuild_is_dropped_when_its_version_is_taken_back(process, store):
    append(store, *range(300))
    mine = process()
    mine.run()
    mine.consumer.release()
    mine.restart(doubling())
    for _ in range(3):
        mine.step()
    mine.restart(Sums())
    mine.run()
    assert stored(store, BUILDING) is None
    assert mine.module.calls == []
    assert mine.view.status is Status.LIVE
    assert mine.handled() == list(range(1, 301))


def test_a_version_that_served_before_serves_again_without_a_rebuild(process, store):
    append(store, *range(100))
    mine = process()
    mine.run()
    mine.consumer.release()
    mine.restart(doubling())
    mine.run()
    append(store, 1000)
    mine.run()
    mine.consumer.release()
    mine.restart(Sums())
    store.handed.clear()
    mine.run()
    assert store.handed == [101]
    assert mine.state()["sum"] == 5950
    assert mine.view.version == "1"
    assert mine.consumer.progress.generation == 2
    assert mine.handled() == list(range(1, 102))
    mine.restart(doubling())
    store.handed.clear()
    mine.run()
    assert store.handed == []
    assert mine.state()["sum"] == 2 * 5950


def test_a_version_whose_rebuild_fails_leaves_the_old_state_served(process, store):
    append(store, *range(100))
    mine = process()
    mine.run()
    module = Sums(version="2")
    module.hook = fails_at(50)
    mine.consumer.release()
    mine.restart(module)
    mine.run_on()
    assert mine.view.status is Status.REBUILDING
    assert mine.view.rebuild[:2] == (49, 100)
    assert isinstance(mine.view.rebuild.error, ZeroDivisionError)
    assert mine.consumer.read(whole)["sum"] == 4950


def test_a_version_that_cannot_begin_leaves_the_old_state_served(process, store):
    append(store, *range(100))
    mine = process()
    mine.run()
    mine.consumer.release()
    module = Sums(version="2")
    module.init = lambda: 1 / 0
    mine.restart(module)
    mine.run_on()
    assert mine.view.status is Status.STOPPED
    assert "mend its init" in str(mine.view.error)
    assert mine.consumer.read(whole)["sum"] == 4950


def test_one_of_another_version_that_follows_waits_for_the_lease(process, store):
    append(store, *range(100))
    mine = process(owner="mine", lease_seconds=60)
    mine.run_on(times=1)
    other = process(doubling(), owner="other", lease_seconds=60)
    other.run_on(1.0)
    assert other.view.status is Status.REBUILDING
    assert other.state()["sum"] == 4950
    assert other.view.rebuild is None
    mine.consumer.release()
    other.clock.advance(60)
    other.run()
    assert other.view.status is Status.LIVE
    assert other.state()["sum"] == 2 * 4950


# Others' work.


def test_followers_see_a_rebuild_another_process_made(process, store):
    append(store, *range(100))
    mine = process(owner="mine", lease_seconds=60)
    other = process(owner="other", lease_seconds=60)
    mine.run()
    other.run()
    other.consumer._model._states[SERVING]["sum"] = -1
    mine.consumer.rebuild()
    mine.run()
    other.run()
    assert other.consumer.progress.generation == 0
    other.clock.advance(60)
    other.run()
    assert other.consumer.progress.generation == 1
    assert other.state()["sum"] == 4950


def test_followers_see_what_became_of_parked_events(process, store):
    append(store, *range(10))
    module = Sums()
    module.hook = fails_at(5)
    mine = process(module, owner="mine", retries=0, on_failure="park", lease_seconds=60)
    other = process(owner="other", lease_seconds=60)
    mine.run_on(0.0)
    other.run()
    assert [one.position for one in other.view.parked] == [5]
    module.hook = lambda *_: None
    mine.consumer.retry_parked(5)
    other.clock.advance(60)
    other.run()
    assert other.view.parked == ()
    assert other.state()["sum"] == 45


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("rebuild", ()),
        ("cancel_rebuild", ()),
        ("rollback", ()),
        ("retry_parked", (5,)),
        ("discard_parked", (5,)),
    ],
)
def test_without_the_lease_nothing_is_changed(process, store, method, arguments):
    append(store, *range(10))
    mine = process(owner="mine", lease_seconds=60)
    with pytest.raises(ProjectionBusy, match="it has not started"):
        getattr(mine.consumer, method)(*arguments)
    mine.run()
    other = process(owner="other", lease_seconds=60)
    other.run()
    with pytest.raises(ProjectionBusy, match="mine/1 holds its lease"):
        getattr(other.consumer, method)(*arguments)
    assert not other.consumer.note_proved(11, 0)


# Rolling back.


def test_what_served_before_serves_again_and_catches_up(process, store):
    append(store, *range(100))
    mine = process()
    mine.run()
    mine.consumer.rebuild()
    mine.run()
    append(store, 1000)
    mine.run()
    mine.consumer.rollback()
    assert mine.view.position == 100
    store.handed.clear()
    mine.run()
    assert store.handed == [101]
    assert mine.view.position == 101
    assert mine.consumer.progress.generation == 2
    assert mine.handled() == list(range(1, 102))
    assert stored(store, PREVIOUS).generation == 1
    mine.consumer.rollback()
    mine.run()
    assert mine.consumer.progress.generation == 3
    assert mine.handled() == list(range(1, 102))


def test_without_a_rebuild_there_is_nothing_to_roll_back_to(process, store):
    mine = process()
    mine.run()
    with pytest.raises(ProjectionBusy, match="cannot be rolled back: nothing served before"):
        mine.consumer.rollback()


def test_a_rebuild_under_way_is_not_rolled_back(process, store):
    append(store, *range(300))
    mine = process()
    mine.run()
    mine.consumer.rebuild()
    mine.run()
    mine.consumer.rebuild()
    with pytest.raises(ProjectionBusy, match="cannot be rolled back: it is being rebuilt"):
        mine.consumer.rollback()


def test_another_versions_state_is_not_rolled_back_to(process, store):
    append(store, *range(10))
    mine = process()
    mine.run()
    mine.restart(doubling())
    mine.run()
    with pytest.raises(ProjectionBusy, match="was made by version 1 before: start that version"):
        mine.consumer.rollback()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_rollback_the_store_answered_with_an_error_is_whole_or_not_at_all(process, store, moment):
    append(store, *range(50))
    mine = process()
    mine.run()
    mine.consumer.rebuild()
    mine.run()
    getattr(store, moment)["save_checkpoints"] = once(unavailable)
    with pytest.raises(StoreUnavailable):
        mine.consumer.rollback()
    mine.run()
    assert mine.consumer.progress.generation == (1 if moment == "before" else 2)
    assert mine.handled() == list(range(1, 51))


# Parked events.


@pytest.fixture
def parking(process, store):
    append(store, *range(10))
    module = Sums()
    module.hook = fails_at(5, 8)
    mine = process(module, retries=0, on_failure="park", lease_seconds=1e6)
    mine.run_on(1.0)
    return mine


def test_a_parked_event_is_retried_and_discarded_by_position(parking, store):
    parking.module.hook = lambda *_: None
    parking.consumer.retry_parked(8)
    parking.consumer.discard_parked(5)
    parking.run()
    assert parking.view.parked == ()
    assert parking.consumer.progress.discarded == (5,)
    assert parking.handled() == [1, 2, 3, 4, 6, 7, 9, 10, 8]
    for method in (parking.consumer.retry_parked, parking.consumer.discard_parked):
        with pytest.raises(LookupError, match="no event parked at position 5"):
            method(5)


def test_what_a_retried_event_raises_is_raised(parking):
    with pytest.raises(ZeroDivisionError):
        parking.consumer.retry_parked(5)
    assert {one.position for one in parking.consumer.progress.parked} == {5, 8}


def test_parked_events_survive_a_restart(parking):
    before = parking.consumer.progress
    parking.consumer.release()
    parking.restart()
    parking.run()
    assert parking.consumer.progress.parked == before.parked


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("method", ["retry_parked", "discard_parked"])
def test_an_answer_that_was_lost_loses_no_event(parking, store, moment, method):
    parking.module.hook = fails_at(8)
    getattr(store, moment)["save_checkpoints"] = once(unavailable)
    with pytest.raises(StoreUnavailable):
        getattr(parking.consumer, method)(5)
    parking.run_on()
    parking.handled()
    parking.restart()
    parking.clock.advance(1e7)
    parking.run()
    parking.handled()
    assert parking.consumer.progress.position == 10


# What stopped, and what is read.


def test_what_has_stopped_is_tried_again_when_asked(process, store):
    append(store, *range(10))
    module = Sums()
    module.hook = fails_at(5)
    mine = process(module, retries=0)
    mine.run_on()
    mine.consumer.resume()
    mine.run_on()
    assert mine.view.status is Status.STOPPED
    module.hook = lambda *_: None
    mine.consumer.resume()
    mine.run()
    assert mine.view.status is Status.LIVE
    assert mine.handled() == list(range(1, 11))


def test_asking_that_of_one_that_runs_changes_nothing(process, store):
    append(store, *range(10))
    mine = process(checkpoint_seconds=1000.0)
    mine.run()
    append(store, 10)
    mine.run()
    mine.consumer.resume()
    mine.run()
    assert mine.handled() == list(range(1, 12))
    assert mine.view.status is Status.LIVE


def test_what_is_read_is_as_new_as_what_was_shown(process, store):
    append(store, *range(100))
    mine = process(checkpoint_seconds=1000.0)
    mine.run()
    append(store, *range(50))
    mine.run()
    view = mine.view
    mine.restart()
    mine.view = mine.consumer.view = view  # as an actor's restart leaves it
    assert mine.consumer.read(lambda state: len(state["seen"])) == 150


def test_before_the_first_step_a_read_takes_it(process, store):
    append(store, 1, 2, 3)
    assert process().consumer.read(lambda state: state["sum"]) >= 0


def test_a_read_that_cannot_catch_up_says_why(process, store):
    append(store, *range(100))
    mine = process()
    store.before["load_checkpoint"] = unavailable
    with pytest.raises(StoreUnavailable, match="cannot be read just now: made to fail"):
        mine.consumer.read(whole)
    del store.before["load_checkpoint"]
    mine.view.reach(100)
    mine.module.hook = fails_at(50)
    with pytest.raises(StoreUnavailable, match="cannot be read just now: at 50"):
        mine.consumer.read(whole)
    mine.module.hook = lambda *_: None
    mine.clock.advance(1000)
    assert mine.consumer.read(whole)["sum"] == 4950


def test_one_that_has_stopped_can_still_be_read(process, store):
    append(store, *range(10))
    module = Sums()
    module.hook = fails_at(5)
    mine = process(module, retries=0)
    mine.run_on()
    assert mine.consumer.read(whole)["seen"] == [1, 2, 3, 4]


def test_what_an_audit_proved_is_noted_unless_the_state_was_replaced(process, store):
    append(store, *range(10))
    mine = process()
    mine.run()
    assert mine.consumer.note_proved(11, 0)
    assert stored(store).ledger.proved.events == 10
    assert not mine.consumer.note_proved(11, 7)
    mine.consumer.rebuild()
    mine.run()
    assert not mine.consumer.note_proved(11, 0)
    assert mine.consumer.progress.ledger.proved.events == 0
    mine.consumer.rollback()
    assert not mine.consumer.note_proved(11, 1)


@pytest.mark.parametrize("fail", [unavailable, stale])
def test_a_proof_that_could_not_be_stored_is_no_error(process, store, fail):
    append(store, *range(10))
    mine = process()
    mine.run()
    store.before["save_checkpoints"] = once(fail)
    assert not mine.consumer.note_proved(11, 0)
    mine.run_on()
    assert mine.handled() == list(range(1, 11))
