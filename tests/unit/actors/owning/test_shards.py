"""Whose shards are: asking, being told, forgetting, giving back."""

import threading
from types import SimpleNamespace

import pytest
from fencing_memory import FencingMemory
from support import eventually, run_threads

from eskernel import ShardLeases
from eskernel.actors.owning.shards import Shards
from eskernel.contracts import Commit
from eskernel.errors import KernelStopped, NotOwner, StaleEpoch, StoreUnavailable
from eskernel.testing import ManualClock
from eskernel.values import Event

STREAM = ("account", "a")
SECONDS = 30.0


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def store(clock):
    return FencingMemory(clock)


@pytest.fixture
def make(store, clock):
    """Makes the shards of a kernel; asking is asking for the one that STREAM is in."""

    def make(owner, *, seconds=SECONDS, **options):
        leases = ShardLeases(owner=owner, seconds=seconds, **options)
        shards = Shards(store, leases, clock)
        shard = shards.of(STREAM)

        def ask():
            shard.used = clock.monotonic()
            return shards.ask(shard, STREAM)

        return SimpleNamespace(shards=shards, shard=shard, ask=ask, name=shard.name)

    return make


@pytest.fixture
def here(make):
    return make("here")


@pytest.fixture
def there(make):
    return make("there")


def append(shards, fence, sequence=1):
    event = Event(STREAM, sequence, "did", None)
    return shards.append([Commit(STREAM, [event], sequence - 1, sequence)], [fence])[0]


def held_up(store, what):
    """Have the store's next call of a kind wait until the event returned second is set."""
    reached, go_on = threading.Event(), threading.Event()

    def hold(kind, _names, _owner):
        if kind == what:
            store.hook_lease = lambda *_: None
            reached.set()
            assert go_on.wait(10)

    store.hook_lease = hold
    return reached, go_on


def elsewhere(function):
    """Call a function on another thread; returns the list its result will be in."""
    results = []
    threading.Thread(target=lambda: results.append(function()), daemon=True).start()
    return results


def down(*_):
    raise StoreUnavailable("made to fail", outcome_unknown=True)


# Asking.


def test_a_lease_is_asked_for_once_while_it_is_valid(here, store, clock):
    standing = here.ask()
    clock.advance(SECONDS - 1)
    assert here.ask() is standing
    assert standing.fence == (here.name, 1)
    assert store.asked == [("acquire", [here.name], "here")]


def test_it_is_valid_from_the_time_it_was_asked_for(here, store, clock):
    store.hook_lease = lambda *_: clock.advance(10)
    here.ask()
    clock.advance(SECONDS - 10)
    store.hook_lease = lambda *_: None
    here.ask()
    assert len(store.asked) == 2


def test_one_that_has_run_out_is_asked_for_again_and_keeps_its_fence(here, clock):
    fence = here.ask().fence
    clock.advance(SECONDS)
    assert here.ask().fence is fence


def test_one_that_was_anothers_in_between_has_another_fence(here, there, clock):
    fence = here.ask().fence
    clock.advance(SECONDS)
    assert there.ask().fence.epoch == 2
    clock.advance(SECONDS)
    assert here.ask().fence == (fence.name, 3)


def test_anothers_is_not_asked_for_again_for_a_third_of_the_time(here, there, store, clock):
    there.ask()
    clock.advance(5)
    for _ in range(3):
        refusal = here.ask()
        assert isinstance(refusal, NotOwner)
        assert (refusal.stream_id, refusal.owner, refusal.retry_after) == (STREAM, "there", 25)
    clock.advance(9)
    assert here.ask().retry_after == 16
    assert len(store.asked) == 2
    clock.advance(1)
    here.ask()
    assert len(store.asked) == 3


def test_anothers_is_asked_for_as_soon_as_it_may_have_run_out(here, there, store, clock):
    there.ask()
    clock.advance(SECONDS - 1)
    assert here.ask().retry_after == 1
    clock.advance(1)
    assert here.ask().fence.epoch == 2


def test_of_all_who_need_it_one_asks(here, store):
    answers = []
    run_threads(*[lambda: answers.append(here.ask())] * 8)
    assert len(store.asked) == 1
    assert all(answer is answers[0] for answer in answers)


def test_those_who_wait_for_one_who_asks_have_his_failure(here, store, clock):
    reached, go_on = threading.Event(), threading.Event()
    looked = []  # every look at what is known begins with one at the clock

    def fail_late(*_):
        reached.set()
        assert go_on.wait(10)
        down()

    store.hook_lease = fail_late
    first = elsewhere(here.ask)
    assert reached.wait(10)
    here.shards._monotonic = lambda: looked.append(1) or clock.monotonic()
    others = [elsewhere(here.ask) for _ in range(4)]
    eventually(lambda: len(looked) == 4)
    go_on.set()
    eventually(lambda: all([first, *others]))
    assert len(store.asked) == 1
    failures = [first[0], *(one for (one,) in others)]
    assert all(isinstance(one, StoreUnavailable) for one in failures)
    assert not any(one.outcome_unknown for one in failures), "no command has begun"
    assert len({id(one) for one in failures}) == 5, "whoever raises an error adds to it"
    store.hook_lease = lambda *_: None
    assert here.ask().fence is not None


def test_an_interrupted_asker_leaves_it_to_the_next(here, store):
    def interrupt(*_):
        raise KeyboardInterrupt

    store.hook_lease = interrupt
    with pytest.raises(KeyboardInterrupt):
        here.ask()
    store.hook_lease = lambda *_: None
    assert here.ask().fence.epoch == 1


def test_a_stores_surprise_is_an_outage(here, store):
    def surprise(*_):
        raise ZeroDivisionError

    store.hook_lease = surprise
    failure = here.ask()
    assert isinstance(failure, StoreUnavailable)
    assert isinstance(failure.__cause__, ZeroDivisionError)


# Losing.


def test_an_append_that_comes_too_late_loses_the_lease(here, there, clock):
    fence = here.ask().fence
    clock.advance(SECONDS)
    there.ask()
    assert isinstance(append(here.shards, fence), StaleEpoch)
    assert here.shards.held() == []
    assert here.ask().owner == "there"


def test_an_append_under_an_older_fence_does_not_lose_the_lease(here, there, clock):
    old = here.ask().fence
    clock.advance(SECONDS)
    there.ask()
    there.shards.close()
    new = here.ask().fence
    assert new.epoch == 3
    assert isinstance(append(here.shards, old), StaleEpoch)
    assert here.ask().fence is new
    assert append(here.shards, new) == 1


def test_what_was_asked_earlier_does_not_count(here, there, store, clock):
    fence = here.ask().fence
    stale = store.acquire_leases([here.name], "here", SECONDS)[0]
    asked = clock.monotonic()
    clock.advance(SECONDS)
    there.ask()
    append(here.shards, fence)
    here.shard.learn(stale, "here", SECONDS, asked)
    assert here.shards.held() == []


# Keeping.


def test_all_that_is_held_is_renewed_at_once(make, store, clock):
    here = make("here", shards=8)
    for number in range(40):
        stream_id = ("account", str(number))
        here.shards.ask(here.shards.of(stream_id), stream_id)
    names = [shard.name for shard in here.shards.held()]
    assert len(names) == 8
    store.asked.clear()
    clock.advance(SECONDS / 3)
    here.shards.renew()
    assert store.asked == [("acquire", names, "here")]
    clock.advance(SECONDS - 1)
    assert here.ask().fence.epoch == 1
    assert len(store.asked) == 1


def test_with_nothing_to_renew_or_give_back_the_store_is_left_alone(here, store):
    here.shards.renew()
    here.shards.release_predecessor()
    here.shards.give_back_unused([])
    here.shards.close()
    assert store.asked == []


def test_what_is_not_used_is_given_back(here, there, clock):
    here.ask()
    clock.advance(SECONDS - 1)
    here.shards.renew()
    here.shards.give_back_unused([])
    assert isinstance(there.ask(), NotOwner)
    clock.advance(1)
    here.shards.give_back_unused([])
    assert here.shards.held() == []
    clock.advance(SECONDS / 3)
    assert there.ask().fence.epoch == 2


def test_what_has_live_aggregates_is_kept(here, clock):
    here.ask()
    clock.advance(SECONDS - 1)
    here.shards.renew()
    clock.advance(1)
    here.shards.give_back_unused([("account", "b"), STREAM])
    assert here.shards.held() == [here.shard]


def test_what_somebody_asks_for_is_not_given_back(here, store, clock):
    here.ask()
    clock.advance(SECONDS)
    reached, go_on = held_up(store, "acquire")
    answers = elsewhere(lambda: here.shards.ask(here.shard, STREAM))
    assert reached.wait(10)
    here.shards.give_back_unused([])
    go_on.set()
    eventually(lambda: answers)
    assert here.shards.held() == [here.shard]
    assert store.owners() == {here.name: "here"}


# The end, and what comes after it.


def test_all_is_given_back_in_one_write_and_nothing_asked_for_any_more(make, store):
    here = make("here", shards=4)
    for number in range(40):
        stream_id = ("account", str(number))
        shard = here.shards.of(stream_id)
        shard.used = 0.0
        here.shards.ask(shard, stream_id)
    here.shards.close()
    assert store.owners() == {}
    assert [what for what, _, _ in store.asked].count("release") == 1
    store.asked.clear()
    assert isinstance(here.ask(), KernelStopped)
    assert store.asked == []


def test_what_is_got_after_the_end_is_given_back(here, store):
    reached, go_on = held_up(store, "acquire")
    answers = elsewhere(here.ask)
    assert reached.wait(10)
    here.shards.close()
    go_on.set()
    eventually(lambda: answers)
    assert isinstance(answers[0], KernelStopped)
    assert store.owners() == {}


def test_what_an_outage_left_unknown_is_given_back_as_well(here, store):
    acquire = store._acquire

    def lose_the_answer(*arguments):
        acquire(*arguments)
        down()

    store._acquire = lose_the_answer
    assert isinstance(here.ask(), StoreUnavailable)
    assert store.owners() == {here.name: "here"}
    here.shards.close()
    assert store.owners() == {}


def test_a_successor_need_not_wait(make, there, store):
    there.ask()
    heir = make("heir", predecessor="there")
    assert heir.ask().fence.epoch == 2
    others = make("third", shards=2)
    assert isinstance(others.ask().fence.epoch, int), "another division"


def test_a_successor_gives_back_all_that_the_dead_one_had(make, store):
    dead, heir = make("dead", shards=4), make("heir", shards=4, predecessor="dead")
    for number in range(40):
        stream_id = ("account", str(number))
        dead.shards.ask(dead.shards.of(stream_id), stream_id)
    assert len(store.owners()) == 4
    heir.shards.release_predecessor()
    assert store.owners() == {}
    store.asked.clear()
    heir.shards.release_predecessor()
    heir.ask()
    assert [what for what, _, _ in store.asked] == ["acquire"]


def test_one_without_a_name_gets_a_new_one_each_time(make):
    assert make(None).shards.owner != make(None).shards.owner
