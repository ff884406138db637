"""Kernels that share a store and have shard leases: who decides, on what, and who does not."""

from contextlib import ExitStack

import pytest
from fencing_memory import FencingMemory
from kernel_helpers import TYPE, Gate, Tally, add, attempt, command, events_of, numbers_of
from structlog.testing import capture_logs
from support import eventually

from eskernel import Kernel, ShardLeases
from eskernel.actors import tree
from eskernel.actors.aggregate.limits import MAX_CONFLICTS
from eskernel.errors import (
    CommandRejected,
    ConcurrencyConflict,
    KernelStopped,
    NotOwner,
    StaleEpoch,
    StoreUnavailable,
)
from eskernel.testing import ManualClock

SECONDS = 3000.0
"""Longer than any test: time passes only on the tests' clock, and no keeper looks twice."""


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def store(clock):
    return FencingMemory(clock)


@pytest.fixture
def begin(store, clock):
    """Starts kernels, each with a domain of its own, by the names they have as owners."""
    with ExitStack() as kernels, capture_logs():

        def begin(owner, *, seconds=SECONDS, shards=64, predecessor=None, **options):
            leases = ShardLeases(
                shards=shards, seconds=seconds, owner=owner, predecessor=predecessor
            )
            options = {"clock": clock, "passivation_timeout": 1e6, **options}
            domain = Tally()
            kernel = Kernel({TYPE: domain}, store, shard_leases=leases, **options)
            kernel.domain = domain
            kernels.callback(lambda: kernel.stop(timeout=10))
            return kernel.start()

        yield begin


@pytest.fixture
def here(begin):
    return begin("here")


@pytest.fixture
def there(begin):
    return begin("there")


def held(kernel, function="handle_command"):
    """Return a gate that holds the kernel's next call of a domain function."""
    gate, hooks = Gate(), kernel.domain.hooks

    def hold(*_):
        del hooks[function]
        gate()

    hooks[function] = hold
    return gate


def take_over(kernel, clock, *numbers):
    """Have a kernel get the shard of `a`, whose lease is another's, and add numbers there."""
    clock.advance(SECONDS)
    for number in numbers:
        kernel.dispatch(add("a", number))


# Owners.


def test_a_shard_belongs_to_the_kernel_that_came_first(here, there, store):
    assert here.dispatch(add("a", 1)).sequence == 1
    with pytest.raises(NotOwner) as refusal:
        there.dispatch(add("a", 2))
    assert refusal.value.stream_id == (TYPE, "a")
    assert refusal.value.owner == "here"
    assert refusal.value.retry_after == SECONDS
    assert isinstance(there.submit(add("a", 3)).exception(5), NotOwner)
    assert there.domain.handled == []
    assert here.dispatch(add("a", 4)).sequence == 2
    assert numbers_of(store) == [1, 4]


def test_shards_are_divided_one_by_one(here, there, store):
    names = [str(number) for number in range(100)]
    for number, name in enumerate(names):
        attempt((here, there)[number % 2].dispatch, add(name, number))
    for name in names:
        outcomes = [attempt(kernel.dispatch, add(name, -1)) for kernel in (here, there)]
        (refusal,) = [one for one in outcomes if isinstance(one, NotOwner)]
        assert refusal.owner == ("there" if outcomes[0] is refusal else "here")
    assert set(store.owners().values()) == {"here", "there"}
    assert (store.refused, store.conflicts) == (0, 0)


def test_with_one_shard_all_aggregates_have_one_owner(begin):
    here, there = begin("here", shards=1), begin("there", shards=1)
    here.dispatch(add("a"))
    for name in "abcdefgh":
        with pytest.raises(NotOwner):
            there.dispatch(add(name))


def test_whoever_is_not_the_owner_reads_all_the_same(here, there):
    here.dispatch(add("a", 1, command_id="one"))
    assert there.state_of(TYPE, "a") == ({"total": 1, "count": 1}, 1)
    here.dispatch(add("a", 2, command_id="two"))
    assert there.state_of(TYPE, "a") == ({"total": 3, "count": 2}, 2)
    assert there.outcome_of(TYPE, "a", "two").sequence == 2
    assert there.outcome_of(TYPE, "a", "three") is None
    with pytest.raises(NotOwner):
        there.dispatch(add("a", 4))


def test_a_flood_for_another_owner_does_not_reach_the_store(here, there, store):
    here.dispatch(add("a"))
    attempt(there.dispatch, add("a"))
    store.asked.clear()
    assert {type(attempt(there.dispatch, add("a"))) for _ in range(100)} == {NotOwner}
    assert store.asked == []


def test_a_kernel_without_shard_leases_is_not_kept_out(here, store, clock):
    here.dispatch(add("a", 1))
    with Kernel({TYPE: Tally()}, store, clock=clock) as other:
        assert other.dispatch(add("a", 2)).sequence == 2
    assert here.dispatch(add("a", 3)).sequence == 3


# Taking over.


def test_a_kernel_that_stops_leaves_its_shards_to_others_at_once(here, there, store):
    here.dispatch(add("a", 1))
    assert here.stop(timeout=10)
    assert store.owners() == {}
    assert there.dispatch(add("a", 2)).sequence == 2


def test_what_was_decided_before_the_end_is_stored_before_the_leases_are_given_back(here, store):
    released = []
    store.hook_lease = lambda what, *_: released.append((what, len(events_of(store))))
    gate = Gate()
    store.hook_append = gate
    waiting = [here.submit(add("a", number)) for number in range(5)]
    gate.wait()
    eventually(lambda: len(here.domain.handled) == 5)
    store.hook_append = lambda: None
    here._runtime.services.jobs.put(gate.open)
    assert here.stop(timeout=10)
    assert [one.result(5).sequence for one in waiting] == [1, 2, 3, 4, 5]
    assert released == [("acquire", 0), ("release", 5)]


def test_a_store_that_hangs_does_not_keep_a_kernel_from_stopping(begin, store, monkeypatch):
    monkeypatch.setattr(tree, "_GIVE_BACK_WITHIN", 0.05)
    kernel = begin("here")
    kernel.dispatch(add("a"))
    with Gate() as gate:
        store.hook_lease = gate
        kernel.stop(timeout=5)
        assert gate.reached.is_set()
    eventually(lambda: store.owners() == {})


def test_one_that_was_stopped_gets_its_shards_back_when_it_starts_again(here, store):
    here.dispatch(add("a", 1))
    here.stop()
    here.start()
    assert here.dispatch(add("a", 2)).sequence == 2
    assert set(store.owners().values()) == {"here"}


def test_a_lease_that_has_run_out_is_anybodys(here, there, store, clock):
    here.dispatch(add("a", 1))
    clock.advance(SECONDS)
    assert there.dispatch(add("a", 2)).sequence == 2
    with pytest.raises(NotOwner, match="there"):
        here.dispatch(add("a", 3))
    assert here.state_of(TYPE, "a")[1] == 2
    assert numbers_of(store) == [1, 2]


def test_a_successor_waits_for_no_lease_to_run_out(here, begin):
    here.dispatch(add("a", 1))
    assert begin("heir", predecessor="here").dispatch(add("a", 2)).sequence == 2
    with pytest.raises(NotOwner, match="heir"):
        here.dispatch(add("a", 3))


def test_a_successor_gives_back_what_it_does_not_need_itself(here, begin, store):
    for name in "abc":
        here.dispatch(add(name))
    begin("heir", predecessor="here")
    eventually(lambda: store.owners() == {})


def test_a_new_owner_decides_on_what_the_last_one_has_stored(here, there, store, clock):
    here.dispatch(add("a", 1, command_id="one"))
    take_over(there, clock, 2, 3)
    clock.advance(SECONDS)
    assert here.dispatch(add("a", 4)).sequence == 4
    assert here.state_of(TYPE, "a") == ({"total": 10, "count": 4}, 4)
    assert (store.refused, store.conflicts) == (0, 0), "nothing was decided on an old state"


def test_an_aggregate_notices_that_its_lease_was_got_anew_for_another_one(begin, store, clock):
    here, there = begin("here", shards=1), begin("there", shards=1)
    for name in "ab":
        here.dispatch(add(name, 1))
    take_over(there, clock, 2)
    there.stop(timeout=10)
    assert here.dispatch(add("b", 3)).sequence == 2
    assert here.dispatch(add("a", 4)).sequence == 3
    assert (store.refused, store.conflicts) == (0, 0)


def test_a_repeat_at_the_new_owner_has_the_first_outcome(here, there, store, clock):
    first = here.dispatch(add("a", 1, command_id="one"))
    clock.advance(SECONDS)
    assert there.dispatch(add("a", 1, command_id="one")) == first
    assert numbers_of(store) == [1]


def test_an_expected_sequence_is_compared_with_what_the_last_owner_stored(here, there, clock):
    here.dispatch(add("a", 1))
    take_over(there, clock, 2)
    clock.advance(SECONDS)
    with pytest.raises(ConcurrencyConflict) as conflict:
        here.dispatch(add("a", 3, expected_sequence=1))
    assert (conflict.value.expected, conflict.value.actual) == (1, 2)
    assert here.dispatch(add("a", 3, expected_sequence=2)).sequence == 3


# Losing a lease on the way.


def test_one_that_slept_in_a_domain_function_stores_nothing(here, there, store, clock):
    here.dispatch(add("a", 1))
    with held(here) as gate:
        slept = here.submit(add("a", 2))
        gate.wait()
        take_over(there, clock, 3)
    assert isinstance(slept.exception(5), NotOwner)
    assert slept.exception().owner == "there"
    assert numbers_of(store) == [1, 3]
    assert store.refused == 1
    assert there.dispatch(add("a", 4)).sequence == 3


def test_those_decided_upon_what_was_not_stored_are_not_stored_either(here, there, store, clock):
    with held(here) as gate:
        slept = [here.submit(add("a", number)) for number in (1, 2, 3)]
        slept.append(here.submit(command("refuse")))
        gate.wait()
        take_over(there, clock, 4)
    assert {type(one.exception(5)) for one in slept} == {NotOwner}
    assert numbers_of(store) == [4]


def test_appends_that_were_on_their_way_are_not_stored(here, there, store, clock):
    gate = Gate()
    store.hook_append = gate
    slept = [here.submit(add("a", number)) for number in (1, 2, 3)]
    gate.wait()
    eventually(lambda: len(here.domain.handled) == 3)
    slept.append(here.submit(command("refuse", "no")))
    eventually(lambda: len(here.domain.handled) == 4)
    store.hook_append = lambda: None
    take_over(there, clock, 4)
    gate.open()
    assert {type(one.exception(5)) for one in slept} == {NotOwner}
    assert numbers_of(store) == [4]


def test_what_was_lost_is_decided_again_if_nobody_has_the_lease_now(here, there, store, clock):
    with held(here) as gate:
        slept = [here.submit(add("a", number)) for number in (1, 2)]
        gate.wait()
        take_over(there, clock, 3)
        there.stop(timeout=10)
    assert [one.result(5).sequence for one in slept] == [2, 3]
    assert numbers_of(store) == [3, 1, 2]
    assert here.state_of(TYPE, "a") == ({"total": 6, "count": 3}, 3)


def test_a_command_waits_for_appends_of_an_older_lease(begin, store, clock):
    here, there = begin("here", shards=1), begin("there", shards=1)
    gate = Gate()
    store.hook_append = gate
    first = here.submit(add("a", 1))
    gate.wait()
    store.hook_append = lambda: None
    take_over(there, clock, 2)
    there.stop(timeout=10)
    other = here.submit(add("b", 0))
    eventually(lambda: len(here.domain.handled) == 2)  # so the lease is this kernel's again
    waiting = [here.submit(command("refuse", "no")), here.submit(add("a", 3, expected_sequence=2))]
    actor = here._runtime.services.routes[TYPE, "a"]
    eventually(lambda: len(actor.mailbox) == 2)
    eventually(actor.held_up)  # or threads would look at it all the time
    assert len(here.domain.handled) == 2
    gate.open()
    assert first.result(5).sequence == 2
    assert isinstance(waiting[0].exception(5), CommandRejected)
    assert waiting[1].result(5).sequence == 3
    assert other.result(5).sequence == 1
    assert numbers_of(store) == [2, 1, 3]
    assert (store.refused, store.conflicts) == (1, 0)


def test_an_append_that_was_stored_before_the_lease_was_lost_is_a_success(
    here, there, store, clock
):
    append, gate = store.append_fenced, Gate()

    def answer_late(commits, fences):
        results = append(commits, fences)
        gate()
        return results

    store.append_fenced = answer_late
    first = here.submit(add("a", 1))
    gate.wait()
    store.append_fenced = append
    clock.advance(SECONDS)
    assert there.submit(add("a", 2)).result(5).sequence == 2
    later = here.submit(add("a", 3))
    gate.open()
    assert first.result(5).sequence == 1
    assert isinstance(later.exception(5), NotOwner)
    assert numbers_of(store) == [1, 2]


def test_one_whose_answer_was_lost_with_the_lease_is_found_by_its_id(here, there, store, clock):
    append = store.append_fenced

    def lose_the_answer(commits, fences):
        append(commits, fences)
        store.append_fenced = append
        raise StoreUnavailable("made to fail", outcome_unknown=True)

    store.append_fenced = lose_the_answer
    with pytest.raises(StoreUnavailable) as unknown:
        here.dispatch(add("a", 1, command_id="one"))
    assert unknown.value.outcome_unknown
    clock.advance(SECONDS)
    assert there.dispatch(add("a", 1, command_id="one")).sequence == 1
    assert numbers_of(store) == [1]


def test_a_command_that_always_comes_too_late_is_given_up(here, store):
    store.append_fenced = lambda commits, fences: [StaleEpoch(f.name, f.epoch, 9) for f in fences]
    with pytest.raises(StaleEpoch):
        here.dispatch(add("a"))
    assert len(here.domain.handled) == 1 + MAX_CONFLICTS
    assert events_of(store) == []


# The keeper.


def test_the_tree_shows_what_is_held(here):
    for name in ("a", "b"):
        here.dispatch(add(name))
    keeper = here.tree().find("shard-keeper")
    assert keeper.actor == "ShardKeeper"
    assert [child.name for child in keeper.children] == ["2 of 64 shards"]


def test_a_lease_in_use_is_renewed(begin, store):
    kernel = begin("here", seconds=0.15, clock=None)
    kernel.dispatch(add("a"))
    (name,) = store._held
    store.asked.clear()
    eventually(lambda: store.asked.count(("acquire", [name], "here")) >= 5)
    assert kernel.dispatch(add("a")).sequence == 2


def test_a_shard_without_live_aggregates_is_given_back(begin, store):
    kernel = begin("here", seconds=0.1, clock=None, passivation_timeout=0.05)
    kernel.dispatch(add("a", 1))
    (name,) = store._held
    eventually(lambda: ("release", [name], "here") in store.asked)
    assert kernel.dispatch(add("a", 2)).sequence == 2


def test_a_keeper_that_ends_is_replaced_and_the_leases_stay(begin, store):
    kernel = begin("here", seconds=0.15, clock=None)
    kernel.dispatch(add("a", 1))
    for restarts, end in enumerate((_stopping, _failing), 1):
        end(kernel, store)
        eventually(lambda number=restarts: kernel.tree().find("shard-keeper").restarts == number)
        store.asked.clear()
        eventually(lambda: store.asked)
    assert {what for what, _, _ in store.asked} == {"acquire"}
    assert kernel.dispatch(add("a", 2)).sequence == 2
    assert [held.epoch for held in store._held.values()] == [1]


def _stopping(kernel, _store):
    kernel.tree().find("shard-keeper").ref.stop(timeout=5)


def _failing(_kernel, store):
    def end_the_thread(*_):
        store.hook_lease = lambda *_: None
        raise SystemExit

    store.hook_lease = end_the_thread


def test_while_the_store_is_down_leases_run_out_and_it_recovers(here, store, clock):
    here.dispatch(add("a", 1))

    def down(*_):
        raise StoreUnavailable("made to fail", outcome_unknown=True)

    store.hook_lease = down
    assert here.dispatch(add("a", 2)).sequence == 2
    clock.advance(SECONDS)
    with pytest.raises(StoreUnavailable) as outage:
        here.dispatch(add("a", 3))
    assert not outage.value.outcome_unknown
    store.hook_lease = lambda *_: None
    assert here.dispatch(add("a", 4)).sequence == 3


def test_a_stopped_kernel_asks_for_nothing(here, store):
    here.dispatch(add("a"))
    here.stop()
    store.asked.clear()
    with pytest.raises(KernelStopped):
        here.dispatch(add("b"))
    assert store.asked == []
