"""Two kernels, as in two processes, on one store: no update is lost and none is made twice."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from kernel_helpers import (
    TYPE,
    Gate,
    Tally,
    add,
    attempt,
    command,
    events_of,
    numbers_of,
    stop_aggregate,
)
from support import eventually, new_seed, run_threads

from domains import bank_account
from eskernel import Accepted, Command, Event, Kernel
from eskernel.errors import (
    AggregateCrashed,
    CommandRejected,
    ConcurrencyConflict,
    CorruptStore,
)
from eskernel_stores import MemoryStore

THREADS = 8  # of each kernel


@pytest.fixture
def both(start):
    """Two kernels on the test's store, each with a domain object of its own."""
    return start(domains={TYPE: Tally()}), start(domains={TYPE: Tally()})


def race(kernels, work):
    """Run `work(kernel, number)` on eight threads for each kernel."""
    targets = [
        lambda kernel=kernel, number=number: work(kernel, number)
        for kernel in kernels
        for number in range(THREADS)
    ]
    numbered = [lambda n=n, target=target: target(number=n) for n, target in enumerate(targets)]
    run_threads(*numbered, timeout=60)


def test_racing_kernels_lose_no_update_and_make_none_twice(both, store):
    outcomes = []
    names = ["x", "y"]

    def work(kernel, number):
        for n in range(25):
            for name in names:
                mark = (name, number * 1000 + n)
                outcomes.append((mark, attempt(kernel.dispatch, add(*mark), timeout=30)))

    race(both, work)
    assert {type(outcome) for _, outcome in outcomes} <= {Accepted, ConcurrencyConflict}
    accepted = Counter(mark for mark, outcome in outcomes if isinstance(outcome, Accepted))
    stored = Counter((name, n) for name in names for n in numbers_of(store, name))
    assert stored == accepted
    assert max(stored.values()) == 1
    assert len(accepted) > len(outcomes) / 2
    for mark, outcome in outcomes:
        if isinstance(outcome, Accepted):
            assert numbers_of(store, mark[0])[outcome.sequence - 1] == mark[1]
    for kernel in both:
        for name in names:
            kernel.state_of(TYPE, name)
            stop_aggregate(kernel, name)
            state, sequence = kernel.state_of(TYPE, name)
            assert sequence == state["count"] == len(numbers_of(store, name))
            assert state["total"] == sum(numbers_of(store, name))


def test_money_is_never_spent_twice(store):
    kernels = [Kernel({"bank_account": bank_account}, store).start() for _ in range(2)]
    deposit = Command("bank_account", "acc", "deposit", {"amount": 100})
    kernels[0].dispatch(deposit)
    spent = []

    def work(kernel, _number):
        withdraw = Command("bank_account", "acc", "withdraw", {"amount": 3})
        while True:
            outcome = attempt(kernel.dispatch, withdraw, timeout=30)
            if isinstance(outcome, Accepted):
                spent.append(3)
            elif isinstance(outcome, CommandRejected):
                return
            else:
                assert isinstance(outcome, ConcurrencyConflict), outcome

    race(kernels, work)
    for kernel in kernels:
        kernel.stop()
    assert sum(spent) == 99
    assert len(events_of(store, "acc", "bank_account")) == 34


def test_of_those_who_expect_one_sequence_exactly_one_wins(both, store):
    rounds = 10
    winners = Counter()

    def work(kernel, number):
        for expected in range(rounds):
            eventually(lambda: len(numbers_of(store)) >= expected, timeout=20)  # noqa: B023
            one = add(n=number, expected_sequence=expected)
            outcome = attempt(kernel.dispatch, one, timeout=30)
            if isinstance(outcome, Accepted):
                winners[expected] += 1
            else:
                assert isinstance(outcome, ConcurrencyConflict), outcome
                assert outcome.expected == expected < outcome.actual

    race(both, work)
    assert winners == Counter(range(rounds))
    assert len(numbers_of(store)) == rounds


def test_one_command_sent_to_both_kernels_happens_once(both, store):
    rounds = 20
    outcomes = {n: [] for n in range(rounds)}

    def work(kernel, number):
        for n in range(rounds):
            for _ in range(50):
                outcome = attempt(kernel.dispatch, add(n=n, command_id=f"c{n}"), timeout=30)
                if not isinstance(outcome, ConcurrencyConflict):
                    break
            outcomes[n].append(outcome)

    race(both, work)
    assert sorted(numbers_of(store)) == list(range(rounds))
    for same in outcomes.values():
        assert len(same) == 2 * THREADS
        assert all(outcome == same[0] for outcome in same)


def test_the_next_command_is_decided_on_what_the_other_kernel_has_written(both, store):
    first, second = both
    first.dispatch(add(n=1))
    second.dispatch(add(n=2))
    first.dispatch(add(n=3))
    second.dispatch(command("add_all", [4, 5]))
    assert first.dispatch(add(n=6)).sequence == 6
    assert first.state_of(TYPE, "a") == ({"total": 21, "count": 6}, 6)
    assert numbers_of(store) == [1, 2, 3, 4, 5, 6]


def test_catching_up_folds_only_what_is_new(both, store):
    first, second = both
    first.dispatch(command("add_all", list(range(50))))
    second.dispatch(add(n=50))
    store.folded.clear()
    assert first.dispatch(add(n=51)).sequence == 52
    assert store.folded == [51]


def test_receipts_are_found_after_a_catch_up_and_kept(both, store):
    first, second = both
    first.dispatch(add(n=0))
    done = second.dispatch(command("add_all", [1, 2], command_id="once"))
    assert first.dispatch(command("add_all", [1, 2], command_id="once")) == done
    assert first.outcome_of(TYPE, "a", "once") == done
    for n in range(5):
        second.dispatch(add(n=n, command_id=f"c{n}"))
    first.dispatch(add(n=9))
    assert [first.outcome_of(TYPE, "a", f"c{n}").sequence for n in range(5)] == [4, 5, 6, 7, 8]
    assert len(numbers_of(store)) == 9


def test_commands_queued_behind_a_conflict_are_decided_again_in_order(both, store):
    first, second = both
    first.dispatch(add(n=0))
    second.dispatch(add(n=100))
    with Gate() as gate:
        store.on_fold = gate  # the first to meet the conflict waits here
        futures = [first.submit(add(n=n)) for n in range(1, 20)]
        gate.wait()
        store.on_fold = None
    assert [future.result(5).sequence for future in futures] == list(range(3, 22))
    assert numbers_of(store) == [0, 100, *range(1, 20)]


def plant(store, sequence, payload):
    """Append an event to the stream as another process would, perhaps a damaged one."""
    event = Event((TYPE, "a"), sequence, "added", payload)
    if isinstance(payload, bytes):
        event = event.sealed(lambda *_: payload, lambda data: data)
    MemoryStore.append(store, (TYPE, "a"), [event], expected_sequence=sequence - 1)


@pytest.mark.parametrize(
    ("payload", "error"),
    [({"type": "added"}, AggregateCrashed), (b"\xc1", CorruptStore)],
)
def test_what_cannot_be_caught_up_with_is_an_error_and_overwrites_nothing(
    payload, error, start, store
):
    kernel = start()
    kernel.dispatch(add(n=1))
    plant(store, 2, payload)
    with pytest.raises(error):
        kernel.dispatch(add(n=2))
    with pytest.raises(error):
        kernel.dispatch(add(n=2))
    assert store.last_position() == 2
    assert kernel.dispatch(add("b")).sequence == 1


def test_conflicts_passivation_and_restarts_together_lose_nothing(store):
    seed = new_seed()
    options = {"passivation_timeout": 0.001, "snapshot_interval": 3, "max_live_aggregates": 2}
    kernels = [Kernel({TYPE: Tally()}, store, **options).start() for _ in range(2)]
    accepted = []

    def work(kernel, number):
        rng = random.Random(f"{seed} {number}")
        for n in range(30):
            mark = number * 1000 + n
            one = add(rng.choice("xyz"), mark, command_id=str(mark))
            for _ in range(100):
                outcome = attempt(kernel.dispatch, one, timeout=30)
                if not isinstance(outcome, ConcurrencyConflict):
                    break
            assert isinstance(outcome, Accepted), outcome
            accepted.append(mark)

    race(kernels, work)
    stored = [n for name in "xyz" for n in numbers_of(store, name)]
    assert sorted(stored) == sorted(accepted)
    for kernel in kernels:
        assert kernel.stop()


def test_a_caller_who_has_seen_more_than_its_kernel_meets_no_conflict(both):
    ours, theirs = both
    ours.dispatch(add("a", 1))
    theirs.dispatch(add("a", 2))
    done = ours.dispatch(add("a", 3, expected_sequence=2))
    assert done.sequence == 3
    ahead = attempt(ours.dispatch, add("a", 4, expected_sequence=9))
    assert (ahead.expected, ahead.actual) == (9, 3)


def test_what_another_kernel_has_stored_is_read_here_at_once(both):
    ours, theirs = both
    ours.dispatch(add("a", 1))
    done = theirs.dispatch(add("a", 2, command_id="theirs"))
    assert ours.outcome_of(TYPE, "a", "theirs") == done
    assert ours.state_of(TYPE, "a") == ({"total": 3, "count": 2}, 2)


def test_a_command_accepted_twice_where_its_receipt_was_forgotten_has_its_last_outcome(start):
    forgetful = start(domains={TYPE: Tally()}, receipts_kept=1)
    for command_id in ("x", "y", "x"):
        last = forgetful.dispatch(add("a", 1, command_id=command_id))
    mindful = start(domains={TYPE: Tally()}, receipts_kept=1000)
    assert mindful.outcome_of(TYPE, "a", "x") == last
    assert mindful.outcome_of(TYPE, "a", "y").sequence == 2
