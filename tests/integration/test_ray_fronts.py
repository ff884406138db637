"""RayKernel without a cluster: what it is given, what its slots keep, and which shards move."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import remote_domain

from eskernel import Command
from eskernel.actors.aggregate.replies import WaitedReply
from eskernel.errors import KernelStopped
from eskernel.remote.calls import Call
from eskernel.remote.setup import Setup
from eskernel.remote.wire import frame_of, parts_of

pytest.importorskip("ray", reason="ray has no wheel for this Python")

from eskernel.ray import RayKernel
from eskernel.ray.balance import moves
from eskernel.ray.cluster import check_reach
from eskernel.ray.slot import RaySlot

DOMAINS = {"probe": remote_domain}


def setup_of(url: str) -> Setup:
    return RayKernel(DOMAINS, url)._setup


def note(value: int) -> Command:
    return Command("probe", "a", "note", value)


# The slot.


def test_a_slot_sends_first_what_was_refused_and_in_order():
    slot = RaySlot(setup_of("memory:").wire(), 100)
    calls = [Call(note(value), WaitedReply(), float("inf")) for value in range(4)]
    for call in calls[:3]:
        slot.post(call)
    parts = slot._take(2)
    assert slot.is_waited_for()
    slot.give_back(frame_of([*parts, setup_of("memory:").wire().pack_withdrawal(1)]))
    assert not slot.is_waited_for()
    slot.post(calls[3])
    assert [parts_of(frame_of([part]))[0][0] for part in slot._take(10)] == [1, 2, 3, 4]
    assert [call.tries for call in calls] == [1, 1, 1, 1]


def test_a_store_of_one_machine_is_refused_on_several():
    check_reach(setup_of("sqlite:///events.db"), ["10.0.0.1", "10.0.0.1"])
    check_reach(setup_of("memory:"), ["10.0.0.1", "10.0.0.2"])
    with pytest.raises(ValueError, match="one machine, and the cluster has"):
        check_reach(setup_of("sqlite:///events.db"), ["10.0.0.2", "10.0.0.1"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"in_flight_limit": 0},
        {"name": "a/b"},
        {"name": ""},
        {"balance_every": -1.0},
        {"lease_seconds": 0},
        {"shards": 0},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_what_a_front_is_given_is_checked_before_ray_is_asked(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)).replace("lease_", "")):
        RayKernel(DOMAINS, "memory:", **wrong)


def test_in_a_forked_child_of_one_that_was_started_a_front_does_nothing():
    kernel = RayKernel(DOMAINS, "memory:")
    kernel.forget()  # as in a child, before it was started
    with pytest.raises(KernelStopped, match="not started"):
        kernel.dispatch(note(1))
    kernel._running = SimpleNamespace(abandon=lambda: None)
    kernel.forget()
    assert kernel.stop()
    calls = (kernel.start, kernel.rebalance, kernel.end_shards, lambda: kernel.dispatch(note(1)))
    for call in calls:
        with pytest.raises(KernelStopped, match="fork"):
            call()


# The balance.


@pytest.mark.parametrize(
    ("places", "nodes", "expected"),
    [
        ("aaaa", "ab", 2),
        ("aaaa", "abc", 2),
        ("aabb", "ab", 0),
        ("aab", "ab", 0),
        ("aaab", "ab", 1),
        ("aaabbb", "abc", 2),
        ("aaxx", "ab", 2),
        ("", "ab", 0),
        ("aa", "", 0),
    ],
)
def test_no_more_shards_move_than_a_fair_share_needs(places, nodes, expected):
    planned = moves(list(places), list(nodes))
    assert len(planned) == expected
    after = list(places)
    for shard, node in planned:
        assert after[shard] != node
        after[shard] = node
    counts = [after.count(node) for node in nodes]
    assert not counts or max(counts) - min(counts) <= 1


def test_a_shard_that_is_being_placed_stays():
    assert moves([None, "a", "a", None], ["a", "b"]) == [(2, "b")]
