"""Idle aggregates leave memory, busy ones stay, and nobody notices but those who must."""

from __future__ import annotations

from collections import Counter

import pytest
from kernel_helpers import TYPE, Gate, add, attempt, command, events_of, stop_aggregate
from support import eventually, run_threads

from eskernel.errors import AggregateCrashed
from eskernel.testing import ManualClock

TIMEOUT = 2**-6  # seconds of the manual clock; the timer looks every quarter of it in real ones


@pytest.fixture
def clock():
    return ManualClock()


def live(kernel):
    return "".join(sorted(name for _, name in kernel.live_aggregates()))


# Passivation.


def test_an_aggregate_leaves_when_it_was_idle_for_the_timeout_and_not_before(start, clock):
    kernel = start(clock=clock, passivation_timeout=TIMEOUT)
    kernel.dispatch(add("a"))
    clock.advance(TIMEOUT / 2)
    kernel.dispatch(add("b"))
    clock.advance(TIMEOUT / 2)
    eventually(lambda: live(kernel) == "b")  # the timer has looked at both
    clock.advance(TIMEOUT * 0.375)
    kernel.dispatch(add("c"))
    clock.advance(TIMEOUT * 0.125)
    eventually(lambda: live(kernel) == "c")
    clock.advance(TIMEOUT)
    eventually(lambda: live(kernel) == "")


@pytest.mark.parametrize("use", ["dispatch", "submit", "state_of", "outcome_of", "refusal", "ask"])
def test_every_use_keeps_an_aggregate_alive(use, start, clock):
    kernel = start(clock=clock, passivation_timeout=TIMEOUT)
    uses = {
        "dispatch": lambda: kernel.dispatch(add("a")),
        "submit": lambda: kernel.submit(add("a")).result(5),
        "state_of": lambda: kernel.state_of(TYPE, "a"),
        "outcome_of": lambda: kernel.outcome_of(TYPE, "a", "x"),
        "refusal": lambda: attempt(kernel.dispatch, command("refuse")),
        "ask": lambda: kernel.aggregate_ref(TYPE, "a").ask(add("a"), timeout=5),
    }
    kernel.dispatch(add("a"))
    ref = kernel.aggregate_ref(TYPE, "a")
    for round_ in range(3):
        kernel.dispatch(add(f"idle{round_}"))
        clock.advance(TIMEOUT * 0.75)
        uses[use]()
        clock.advance(TIMEOUT * 0.25)
        eventually(lambda: kernel.aggregate_ref(TYPE, f"idle{round_}") is None)  # noqa: B023
        assert ref.is_alive()
    clock.advance(TIMEOUT)
    eventually(lambda: not ref.is_alive())


def test_the_state_is_back_after_passivation(start, clock, store):
    kernel = start(clock=clock, passivation_timeout=TIMEOUT)
    for round_ in range(1, 6):
        assert kernel.dispatch(add(n=round_)).sequence == round_
        clock.advance(TIMEOUT)
        eventually(lambda: live(kernel) == "")
    assert kernel.state_of(TYPE, "a") == ({"total": 15, "count": 5}, 5)
    assert len(events_of(store)) == 5


def test_a_busy_aggregate_is_not_passivated(start, clock, domain):
    kernel = start(clock=clock, passivation_timeout=TIMEOUT)
    with Gate() as gate:
        domain.hooks["handle_command"] = lambda one, _state: one.aggregate_id == "a" and gate()
        future = kernel.submit(add("a"))
        waiting = kernel.submit(add("a"))
        gate.wait()
        ref = kernel.aggregate_ref(TYPE, "a")
        kernel.dispatch(add("idle"))
        clock.advance(1000)
        eventually(lambda: live(kernel) == "a")
        assert ref.is_alive()
    assert [future.result(5).sequence, waiting.result(5).sequence] == [1, 2]
    clock.advance(1000)
    eventually(lambda: live(kernel) == "")


def test_an_aggregate_whose_events_are_being_stored_is_not_passivated(start, clock, store):
    kernel = start(clock=clock, passivation_timeout=TIMEOUT)
    kernel.dispatch(add("idle"))
    with Gate() as gate:
        store.hook_append = gate
        future = kernel.submit(add("a"))
        gate.wait()
        ref = kernel.aggregate_ref(TYPE, "a")
        clock.advance(1000)
        eventually(lambda: live(kernel) == "a")
        assert ref.is_alive()
    assert future.result(5).sequence == 1
    store.hook_append = None
    assert kernel.dispatch(add("a")).sequence == 2


def test_thousands_of_idle_aggregates_leave_together(start, clock):
    kernel = start(clock=clock, passivation_timeout=TIMEOUT)
    for number in range(2000):
        kernel.dispatch(add(f"a{number}"))
    assert len(kernel.live_aggregates()) == 2000
    clock.advance(TIMEOUT)
    eventually(lambda: kernel.live_aggregates() == [])
    assert kernel.dispatch(add("a7")).sequence == 2


# No more than so many.


def test_the_least_recently_used_makes_room(start, clock):
    kernel = start(clock=clock, passivation_timeout=1000, max_live_aggregates=3)
    for name in "abcab":
        kernel.dispatch(add(name))
        clock.advance(1)
    kernel.dispatch(add("d"))
    assert live(kernel) == "abd"
    clock.advance(1)
    kernel.state_of(TYPE, "a")
    clock.advance(1)
    assert kernel.dispatch(add("c")).sequence == 2
    assert live(kernel) == "acd"


def test_busy_aggregates_are_never_evicted_though_they_are_the_oldest(start, clock, domain):
    kernel = start(clock=clock, passivation_timeout=1000, max_live_aggregates=2)
    with Gate() as gate:
        domain.hooks["handle_command"] = lambda one, _state: one.aggregate_id in "ab" and gate()
        futures = [kernel.submit(add(name)) for name in "ab"]
        eventually(lambda: len(domain.handled) == 2)
        for name in "cde":
            clock.advance(1)
            assert kernel.dispatch(add(name)).sequence == 1
            assert set("ab") < set(live(kernel)), "busy ones stay, beyond the limit if need be"
        assert live(kernel) == "abe"
    assert [future.result(5).sequence for future in futures] == [1, 1]
    clock.advance(1)
    kernel.dispatch(add("f"))
    assert len(live(kernel)) == 2
    assert "f" in live(kernel)


def test_a_single_place_is_enough_for_many_aggregates(start, store):
    kernel = start(max_live_aggregates=1, passivation_timeout=1000)
    for _ in range(3):
        for name in "abc":
            kernel.dispatch(add(name))
            assert live(kernel) == name
    assert [kernel.state_of(TYPE, name)[1] for name in "abc"] == [3, 3, 3]


def test_evictions_under_load_lose_nothing_and_count_nothing_twice(start, store):
    kernel = start(max_live_aggregates=4, passivation_timeout=1000)
    names = [f"a{number}" for number in range(20)]

    def use():
        for _ in range(10):
            for name in names:
                kernel.dispatch(add(name))

    run_threads(*[use] * 8)
    assert {len(events_of(store, name)) for name in names} == {80}
    assert {kernel.state_of(TYPE, name)[1] for name in names} == {80}
    kernel.dispatch(add("last"))
    assert len(kernel.live_aggregates()) <= 4


# Stop events.


@pytest.fixture
def announced(monkeypatch, start):
    """Starts a kernel and counts the stop events its supervisor and manager are sent."""

    def start_counting(**options):
        kernel = start(**options)
        counts = {}
        for node in ("aggregate-supervisor", "aggregate-manager"):
            counts[node] = count = Counter()
            receiver = kernel.tree().find(node).ref.actor_class
            on_receive = receiver.on_receive

            def counting(self, message, count=count, on_receive=on_receive):
                if type(message).__name__ == "AggregateEnded":
                    count[message.actor.stream_id[1], message.reason is None] += 1
                return on_receive(self, message)

            monkeypatch.setattr(receiver, "on_receive", counting)
        return kernel, counts

    return start_counting


def count_children(kernel):
    """Return how many aggregates their supervisor believes to be alive."""
    supervisor = kernel.tree().find("aggregate-supervisor").ref
    return supervisor.proxy().count_aggregates().get(timeout=5)


def assert_announced(counts, *ends):
    """Check what was announced, once to each; an end is an id and whether it was in order."""
    expected = Counter(ends)
    for node, count in counts.items():
        eventually(lambda count=count: sum(count.values()) >= len(ends))
        assert count == expected, node


def end_by_stop(kernel, clock):
    stop_aggregate(kernel)


def end_by_telling_to_stop(kernel, clock):
    kernel.aggregate_ref(TYPE, "a").stop(block=False)


def end_by_passivation(kernel, clock):
    clock.advance(1000)


@pytest.mark.parametrize("end", [end_by_stop, end_by_telling_to_stop, end_by_passivation])
def test_an_orderly_end_is_announced_once_to_supervisor_and_manager(end, announced, clock):
    kernel, counts = announced(clock=clock, passivation_timeout=TIMEOUT)
    for round_ in range(1, 4):
        kernel.dispatch(add())
        end(kernel, clock)
        eventually(lambda: kernel.live_aggregates() == [])
        assert_announced(counts, *[("a", True)] * round_)
    assert count_children(kernel) == 0


def test_a_crash_is_announced_once_with_its_reason(announced):
    kernel, counts = announced()
    with pytest.raises(AggregateCrashed):
        kernel.dispatch(command("raise"))
    assert_announced(counts, ("a", False))
    kernel.dispatch(add())
    kernel.aggregate_ref(TYPE, "a").tell("what it does not understand")
    assert_announced(counts, ("a", False), ("a", False))


def test_an_eviction_is_announced_once(announced):
    kernel, counts = announced(max_live_aggregates=1, passivation_timeout=1000)
    for name in "abc":
        kernel.dispatch(add(name))
    assert_announced(counts, ("a", True), ("b", True))


def test_those_that_die_with_their_supervisor_are_announced_once_each(announced):
    kernel, counts = announced(passivation_timeout=0.1)
    for name in "abc":
        kernel.dispatch(add(name))
    refs = [kernel.aggregate_ref(TYPE, name) for name in "abc"]
    kernel.tree().find("aggregate-supervisor").ref.stop()
    assert not any(ref.is_alive() for ref in refs)
    # Their supervisor is gone; its successor may or may not have been there in time to hear of it.
    to_supervisor = counts.pop("aggregate-supervisor")
    assert_announced(counts, ("a", True), ("b", True), ("c", True))
    assert max(to_supervisor.values(), default=0) <= 1
    assert kernel.dispatch(add("d")).sequence == 1
    assert count_children(kernel) == len(kernel.live_aggregates())


def test_many_ends_at_once_are_announced_once_each(announced, clock):
    kernel, counts = announced(clock=clock, passivation_timeout=TIMEOUT)
    names = [f"a{number}" for number in range(50)]
    for name in names:
        kernel.dispatch(add(name))
    refs = [kernel.aggregate_ref(TYPE, name) for name in names]

    def stop_all():
        for ref in refs:
            ref.stop(timeout=5)

    run_threads(*[stop_all] * 4, lambda: clock.advance(1000))
    assert_announced(counts, *[(name, True) for name in names])
    manager = kernel.tree().find("aggregate-manager").ref.proxy()
    assert manager.counts().get(timeout=5) == (50, 0)
