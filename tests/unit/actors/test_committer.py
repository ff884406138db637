import itertools
import random
import threading
import time

import pykka
import pytest
import structlog
from support import eventually, new_seed, run_threads

from eskernel.actors.bell import Bell
from eskernel.actors.committer import MAX_BATCH, Chain, CommitQueue, Committer
from eskernel.actors.outcomes import ChainBroken
from eskernel.actors.supervision import Backoff, ChildSpec, Supervisor, stop_and_wait, watch
from eskernel.contracts import Commit
from eskernel.errors import ConcurrencyConflict, KernelStopped, StoreUnavailable
from eskernel.values import Event
from eskernel_stores import MemoryStore

DEADLINE = 5
AT_ONCE = Backoff(first=0.0, longest=0.0)
append_ids = itertools.count(1)


class Wakes:
    """An actor that counts how often it is woken."""

    def __init__(self):
        self.woken = 0
        self.event = threading.Event()

    def wake(self):
        self.woken += 1
        self.event.set()


class Waiting:
    """An append in the queue."""

    def __init__(self, name, expected=0, *, chain=None, actor=None, events=1):
        stream_id = ("account", name)
        facts = [Event(stream_id, expected + 1 + number, "did", None) for number in range(events)]
        self.commit = Commit(stream_id, facts, expected, next(append_ids))
        self.chain = chain or Chain()
        self.actor = actor or Wakes()
        self.result = None


def chained(name, count, expected=0):
    """Return appends decided one upon the other."""
    chain, actor = Chain(), Wakes()
    return [Waiting(name, expected + n, chain=chain, actor=actor) for n in range(count)]


class Batches:
    """A MemoryStore that records its batches, and does something before or after each."""

    def __init__(self, before=lambda: None, after=lambda: None):
        self.store, self.before, self.after = MemoryStore(), before, after
        self.batches = []

    def append_batch(self, commits):
        self.batches.append([commit.stream_id[1] for commit in commits])
        self.before()
        results = self.store.append_batch(commits)
        self.after()
        return results


class Singles:
    """A store without append_batch, out of order for some streams."""

    def __init__(self):
        self.store, self.sent, self.broken = MemoryStore(), [], {}

    def append(self, stream_id, events, *, expected_sequence, append_id=None):
        self.sent.append((stream_id[1], expected_sequence, append_id))
        if error := self.broken.pop(stream_id[1], None):
            raise error
        return self.store.append(
            stream_id, events, expected_sequence=expected_sequence, append_id=append_id
        )


def run(store, *appends, queue=None):
    """Write the appends with a committer of their own."""
    queue = queue or CommitQueue()
    for append in appends:
        queue.put(append)
    ref = Committer.start(queue, store, Bell())
    eventually(lambda: len(queue) == 0)
    assert ref.stop(timeout=DEADLINE)
    return [append.result for append in appends]


def sequences(store, name):
    return store.fold(("account", name), lambda seen, event: [*seen, event.sequence], [])


def count_events(store):
    return store.fold_all(lambda count, _event: count + 1, 0)[0]


@pytest.fixture(autouse=True)
def logs():
    with structlog.testing.capture_logs() as entries:
        yield entries


# Batches.


def test_everything_waiting_is_written_in_one_batch():
    store = Batches()
    assert run(store, *[Waiting(name) for name in "abcde"]) == [1, 2, 3, 4, 5]
    assert store.batches == [list("abcde")]


def test_while_one_batch_is_written_the_next_one_gathers():
    writing, go_on = threading.Event(), threading.Event()

    def before():
        writing.set()
        go_on.wait(DEADLINE)

    store, queue = Batches(before), CommitQueue()
    ref = Committer.start(queue, store, Bell())
    queue.put(Waiting("first"))
    assert writing.wait(DEADLINE)
    for name in "abc":
        queue.put(Waiting(name))
    go_on.set()
    eventually(lambda: len(queue) == 0)
    assert store.batches == [["first"], ["a", "b", "c"]]
    assert ref.stop(timeout=DEADLINE)


@pytest.fixture
def pauses(monkeypatch):
    """How long the committer has paused, each time."""
    pauses = []
    monkeypatch.setattr("eskernel.actors.committer.sleep", pauses.append)
    return pauses


def test_a_single_caller_is_never_kept_waiting(pauses):
    queue, store = CommitQueue(), Batches()
    ref = Committer.start(queue, store, Bell())
    for number in range(5):
        append = Waiting("a", number)
        queue.put(append)
        eventually(lambda append=append: append.result is not None)
    assert ref.stop(timeout=DEADLINE)
    assert pauses == []


@pytest.mark.parametrize("slow", [False, True])
def test_after_a_quick_write_of_several_their_callers_may_come_back(pauses, monkeypatch, slow):
    if slow:
        monkeypatch.setattr("eskernel.actors.committer._QUICK", 0.0)
    queue, store = CommitQueue(), Batches()
    run(store, Waiting("a"), Waiting("b"), queue=queue)
    assert pauses == []
    ref = Committer.start(queue, store, Bell())
    for first, second in (("c", "d"), ("e", "f")):
        appends = Waiting(first), Waiting(second)
        queue._told = True  # so that both are there when it looks
        for append in appends:
            queue.put(append)
        queue.nudge()
        eventually(lambda appends=appends: all(one.result is not None for one in appends))
    assert ref.stop(timeout=DEADLINE)
    assert len(pauses) == (0 if slow else 1)


def test_a_batch_has_its_limit():
    store = Batches()
    appends = [Waiting(str(number)) for number in range(2 * MAX_BATCH + 1)]
    assert run(store, *appends) == list(range(1, 2 * MAX_BATCH + 2))
    assert [len(batch) for batch in store.batches] == [MAX_BATCH, MAX_BATCH, 1]


def test_each_actor_is_woken_once_a_batch_and_finds_its_results():
    found = []

    class Looks(Wakes):
        def wake(self):
            super().wake()
            found.append([append.result for append in appends])

    actor, other = Looks(), Wakes()
    appends = [Waiting("a", actor=actor), Waiting("b", actor=actor), Waiting("c", actor=other)]
    run(Batches(), *appends)
    assert (actor.woken, other.woken) == (1, 1)
    assert found == [[1, 2, 3]]


def test_one_conflict_does_not_fail_its_neighbours():
    store = Batches()
    results = run(store, Waiting("a"), Waiting("b", expected=7), Waiting("c"))
    assert results[0] == 1
    assert isinstance(results[1], ConcurrencyConflict)
    assert (results[1].expected, results[1].actual) == (7, 0)
    assert results[2] == 2
    assert len(store.batches) == 1


def test_appends_of_one_stream_chain():
    store = Batches()
    assert run(store, *chained("a", 5)) == [1, 2, 3, 4, 5]
    assert sequences(store.store, "a") == [1, 2, 3, 4, 5]
    assert len(store.batches) == 1


def test_the_position_is_that_of_the_last_event():
    assert run(Batches(), Waiting("a", events=3), Waiting("b", events=2)) == [3, 5]


# Broken chains.


def test_later_appends_of_a_broken_chain_are_not_sent():
    writing, go_on = threading.Event(), threading.Event()

    def before():
        writing.set()
        go_on.wait(DEADLINE)

    store, queue = Batches(before), CommitQueue()
    first, *later = chained("a", 3, expected=1)
    ref = Committer.start(queue, store, Bell())
    queue.put(first)
    assert writing.wait(DEADLINE)
    for append in [*later, Waiting("b")]:
        queue.put(append)
    go_on.set()
    eventually(lambda: len(queue) == 0)
    assert isinstance(first.result, ConcurrencyConflict)
    assert [type(append.result) for append in later] == [ChainBroken, ChainBroken]
    assert store.batches == [["a"], ["b"]]
    assert first.actor.woken == 2
    assert first.chain.broken
    assert ref.stop(timeout=DEADLINE)


def test_a_chain_broken_before_it_is_written_costs_no_batch():
    store, appends = Batches(), chained("a", 2)
    appends[0].chain.broken = True
    assert [type(result) for result in run(store, *appends)] == [ChainBroken, ChainBroken]
    assert store.batches == []
    assert appends[0].actor.woken == 1


def test_another_chain_of_the_same_stream_is_sent():
    store, old, new = Batches(), chained("a", 2), chained("a", 2)
    old[0].chain.broken = True
    assert run(store, *old, *new)[2:] == [1, 2]


# Stores without append_batch.


def test_a_store_without_batches_is_written_append_by_append():
    store = Singles()
    appends = [*chained("a", 3), Waiting("b")]
    assert run(store, *appends) == [1, 2, 3, 4]
    sent = [(append.commit.expected_sequence, append.commit.append_id) for append in appends]
    assert [one[1:] for one in store.sent] == sent


def test_a_failure_there_breaks_its_stream_and_no_other():
    store = Singles()
    store.broken["a"] = ConcurrencyConflict(("account", "a"), 0, 1)
    results = run(store, *chained("a", 3), Waiting("b"))
    assert isinstance(results[0], ConcurrencyConflict)
    assert [type(result) for result in results[1:3]] == [ChainBroken, ChainBroken]
    assert results[3] == 1
    assert [name for name, *_ in store.sent] == ["a", "b"]


def test_a_stream_that_failed_in_one_batch_may_succeed_in_the_next():
    store, queue = Singles(), CommitQueue()
    store.broken["a"] = OSError("disk")
    (failed,) = run(store, Waiting("a"), queue=queue)
    assert failed.outcome_unknown
    assert run(store, Waiting("a"), queue=queue) == [1]


def test_a_store_whose_append_knows_no_append_id_works():
    class Old:
        def __init__(self):
            self.store = MemoryStore()

        def append(self, stream_id, events, *, expected_sequence):
            return self.store.append(stream_id, events, expected_sequence=expected_sequence)

    assert run(Old(), *chained("a", 3)) == [1, 2, 3]


def test_a_store_that_passes_any_options_on_gets_the_append_id():
    class Wrapped:
        def __init__(self):
            self.store, self.ids = MemoryStore(), []

        def append(self, *args, **options):
            self.ids.append(options["append_id"])
            return self.store.append(*args, **options)

    store, append = Wrapped(), Waiting("a")
    assert run(store, append) == [1]
    assert store.ids == [append.commit.append_id]


# Failing stores.


def test_a_store_that_raises_leaves_the_outcome_unknown():
    def fail():
        raise error

    error = OSError("disk full")
    results = run(Batches(before=fail), Waiting("a"), Waiting("b"))
    for result in results:
        assert isinstance(result, StoreUnavailable)
        assert result.outcome_unknown
        assert result.__cause__ is error
        assert "OSError: disk full" in str(result)


def test_an_error_of_eskernels_own_is_passed_on_as_it_is():
    def fail():
        raise error

    error = StoreUnavailable("down", outcome_unknown=False)
    results = run(Batches(before=fail), Waiting("a"), Waiting("b"))
    assert [(type(one), str(one), vars(one)) for one in results] == [
        (StoreUnavailable, "down", {"outcome_unknown": False})
    ] * 2
    assert results[0] is not results[1]  # each caller raises its own


def test_a_failing_store_does_not_end_the_committer():
    errors = [OSError("once")]

    def fail():
        if errors:
            raise errors.pop()

    queue, append, later = CommitQueue(), Waiting("a"), Waiting("b")
    ref = Committer.start(queue, Batches(before=fail), Bell())
    queue.put(append)
    eventually(lambda: append.result)
    assert append.chain.broken
    queue.put(later)
    assert eventually(lambda: later.result) == 1
    assert ref.stop(timeout=DEADLINE)


# Killed and restarted.


def supervised(queue, store, **options):
    spec = ChildSpec("committer", lambda: Committer.start(queue, store, Bell()))
    return Supervisor.start([spec], **({"backoff": AT_ONCE, "intensity": 10**6} | options))


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_a_committer_killed_in_mid_batch_has_it_sent_again_and_stored_once(when, kind):
    kills = [kind(), kind()]

    def die():
        if kills:
            raise kills.pop()

    store, queue = Batches(**{when: die}), CommitQueue()
    supervisor = supervised(queue, store)
    appends = chained("a", 3) + chained("b", 3)
    for append in appends:
        queue.put(append)
    eventually(lambda: len(queue) == 0)
    assert [append.result for append in appends] == [1, 2, 3, 4, 5, 6]
    assert count_events(store.store) == 6
    assert len(store.batches) >= 3
    assert supervisor.proxy().children().get(timeout=DEADLINE)[0].restarts == 2
    assert supervisor.stop(timeout=DEADLINE)


def test_a_committer_killed_while_waking_sends_nothing_again():
    class Deadly(Wakes):
        def wake(self):
            super().wake()
            if self.woken == 1:
                raise SystemExit

    store, queue, last = Batches(), CommitQueue(), Wakes()
    appends = [Waiting("a", actor=Deadly()), Waiting("b", actor=last)]
    for append in appends:
        queue.put(append)
    supervisor = supervised(queue, store)
    eventually(lambda: len(queue) == 0)
    assert [append.result for append in appends] == [1, 2]
    assert store.batches == [["a", "b"]]
    assert last.woken == 1
    assert supervisor.stop(timeout=DEADLINE)


def test_appends_put_while_there_is_no_committer_are_written_by_the_next():
    queue, append = CommitQueue(), Waiting("a")
    first = Committer.start(queue, Batches(), Bell())
    assert stop_and_wait(first, DEADLINE)
    queue.put(append)
    assert len(queue) == 1
    assert append.result is None
    second = Committer.start(queue, Batches(), Bell())
    assert eventually(lambda: append.result) == 1
    assert second.stop(timeout=DEADLINE)


def test_stopping_writes_what_came_before():
    for _ in range(50):
        queue, appends = CommitQueue(), [Waiting(str(number)) for number in range(20)]
        store = Batches()
        ref = Committer.start(queue, store, Bell())
        for append in appends:
            queue.put(append)
        assert ref.stop(timeout=DEADLINE)
        assert sorted(append.result for append in appends) == list(range(1, 21))


def test_on_stop_writes_all_that_waits_and_does_not_wait_for_more():
    store, queue = Batches(), CommitQueue()
    store.after = lambda: queue.put(Waiting(str(next(append_ids))))  # there is always one more
    committer = Committer(queue, store, Bell())
    for number in range(MAX_BATCH + 1):
        queue.put(Waiting(f"early {number}"))
    committer.on_stop()
    assert [len(batch) for batch in store.batches] == [MAX_BATCH, 2]
    assert len(queue) == 1


def test_a_committer_can_be_stopped_although_there_is_always_more_to_write():
    store, queue = Batches(), CommitQueue()
    store.after = lambda: queue.put(Waiting(str(next(append_ids))))
    queue.put(Waiting("first"))
    ref = Committer.start(queue, store, Bell())
    eventually(lambda: len(store.batches) > 10)
    assert stop_and_wait(ref, DEADLINE)


def test_a_committer_left_behind_in_a_write_harms_neither_its_successor_nor_the_queue():
    stuck, release = threading.Event(), threading.Event()

    def hang():
        stuck.set()
        release.wait(DEADLINE)

    slow, queue, exits = Batches(after=hang), CommitQueue(), []
    old = Committer.start(queue, slow, Bell())
    watch(old, exits.append)
    appends = chained("a", 3)
    for append in appends:
        queue.put(append)
    assert stuck.wait(DEADLINE)
    assert not stop_and_wait(old, 0.01)
    quick = Batches()
    quick.store = slow.store
    new = Committer.start(queue, quick, Bell())
    assert eventually(lambda: appends[-1].result) == 3
    paused = threading.Event()
    quick.before = lambda: paused.wait(DEADLINE)
    late = Waiting("late")
    queue.put(late)
    release.set()
    assert eventually(lambda: exits)[0].reason is None
    paused.set()
    assert eventually(lambda: late.result) == 4
    assert [append.result for append in appends] == [1, 2, 3]
    assert not appends[0].chain.broken
    assert new.stop(timeout=DEADLINE)


# Wake-ups.


@pytest.mark.parametrize("killed", [False, True])
def test_no_wake_up_is_lost_between_many_producers(killed):
    seed = new_seed()
    queue, store = CommitQueue(), Batches()
    chance = random.Random(seed)

    def maybe_die():
        if killed and chance.random() < 0.02:
            raise SystemExit

    store.before = store.after = maybe_die
    supervisor = supervised(queue, store)

    def produce(name):
        rng = random.Random(f"{seed} {name}")
        actor, chain = Wakes(), Chain()
        for number in range(150):
            append = Waiting(name, number, chain=chain, actor=actor)
            actor.event.clear()
            queue.put(append)
            while append.result is None:
                assert actor.event.wait(DEADLINE), "nobody woke it"
                actor.event.clear()
            assert isinstance(append.result, int)
            if rng.random() < 0.3:
                time.sleep(rng.random() * 0.0005)

    run_threads(*[lambda number=number: produce(str(number)) for number in range(8)], timeout=60)
    assert count_events(store.store) == 8 * 150
    eventually(lambda: len(queue) == 0)
    assert supervisor.stop(timeout=DEADLINE)


def test_a_committer_is_told_once_until_it_looks():
    told = []

    class Records(pykka.ThreadingActor):
        use_daemon_thread = True

        def on_receive(self, message):
            told.append(message)

    queue = CommitQueue()
    queue.committer = Records.start()
    for name in "abc":
        queue.put(Waiting(name))
    assert queue.committer.proxy().actor_urn.get(timeout=DEADLINE)
    assert len(told) == 1
    assert len(queue.look()) == 3
    queue.put(Waiting("d"))
    queue.remind()
    assert queue.committer.proxy().actor_urn.get(timeout=DEADLINE)
    assert len(told) == 2
    queue.nudge()
    queue.look()
    queue.remind()
    assert queue.committer.proxy().actor_urn.get(timeout=DEADLINE)
    assert len(told) == 4
    queue.fail_all(KernelStopped("it was stopped"))
    queue.remind()
    assert queue.committer.proxy().actor_urn.get(timeout=DEADLINE)
    assert len(told) == 4
    queue.committer.stop(timeout=DEADLINE)


def test_a_nudge_without_a_committer_or_without_work_does_nothing():
    queue = CommitQueue()
    queue.nudge()
    ref = Committer.start(queue, store := Batches(), Bell())
    queue.nudge()
    assert ref.stop(timeout=DEADLINE)
    queue.nudge()
    assert store.batches == []


# The end.


def test_fail_all_gives_every_append_the_error_and_wakes_its_actor():
    queue, error = CommitQueue(), KernelStopped("it was stopped")
    appends = [Waiting(str(number)) for number in range(MAX_BATCH + 5)]
    for append in appends:
        queue.put(append)
    queue.fail_all(error)
    assert all(append.result is error for append in appends)
    assert all(append.chain.broken for append in appends)
    assert {append.actor.woken for append in appends} == {1}
    assert len(queue) == 0
    queue.fail_all(error)


def test_a_committer_whose_appends_were_failed_meanwhile_keeps_to_the_results_given():
    stuck, release = threading.Event(), threading.Event()

    def hang():
        stuck.set()
        release.wait(DEADLINE)

    queue, error, exits = CommitQueue(), KernelStopped("it was stopped"), []
    ref = Committer.start(queue, Batches(after=hang), Bell())
    watch(ref, exits.append)
    append = Waiting("a")
    queue.put(append)
    assert stuck.wait(DEADLINE)
    queue.fail_all(error)
    release.set()
    assert stop_and_wait(ref, DEADLINE)
    assert exits[0].reason is None
    assert isinstance(append.result, StoreUnavailable)
    assert append.result.outcome_unknown  # the store had been given it


def check_unknown(results):
    """Check that an append is answered with an unknown outcome when append_batch returns this."""

    class Odd(MemoryStore):
        def append_batch(self, commits):
            return results

    queue = CommitQueue()
    ref = Committer.start(queue, Odd(), Bell())
    append = Waiting("a")
    queue.put(append)
    eventually(lambda: append.result)
    assert isinstance(append.result, StoreUnavailable)
    assert append.result.outcome_unknown
    assert ref.stop(timeout=DEADLINE)


@pytest.mark.parametrize("results", [[], [None], None, [1, 2]], ids=repr)
def test_results_that_do_not_fit_the_batch_are_an_unknown_outcome(results):
    check_unknown(results)


def test_a_surprise_among_the_results_of_a_batch_is_an_unknown_outcome():
    check_unknown([OSError("disk gone")])


def test_other_messages_are_pykkas():
    ref = Committer.start(CommitQueue(), MemoryStore(), Bell())
    assert ref.ask("what?", timeout=DEADLINE) is None
    assert ref.stop(timeout=DEADLINE)
