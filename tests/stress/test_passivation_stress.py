"""Aggregates passivated about every millisecond under 16 hammering threads."""

from __future__ import annotations

import random
import sys
import threading

import pytest
from stress_helpers import (
    TYPE,
    DeferredStore,
    Ledger,
    check_order,
    check_states,
    in_threads,
    note,
    noted,
)
from support import eventually, new_seed

from eskernel import Kernel
from eskernel.errors import CommandRejected
from eskernel_stores import MemoryStore

pytestmark = [pytest.mark.stress, pytest.mark.usefixtures("restored_switches")]

THREADS = 16
SHARED = [f"s{number}" for number in range(24)]
STREAMS = [*SHARED, *(f"own{index}-{part}" for index in range(THREADS) for part in range(8))]


def _hammer(kernel, store, domain, commands, seed, *, submit_share=0.0, own_share=0.0):
    accepted: list[set] = [set() for _ in range(THREADS)]

    def work(index):
        rng = random.Random(seed * 100 + index)
        futures = []
        for n in range(commands):
            if index == 0 and n == commands * 4 // 5:
                sys.setswitchinterval(1e-4)
            # Mostly streams of its own; a hand-over to another thread costs a GIL switch.
            mine = rng.random() < own_share
            stream = f"own{index}-{n // 50 % 8}" if mine else rng.choice(SHARED)
            if rng.random() < submit_share:
                futures.append((stream, n, kernel.submit(note(stream, index, n))))
                if len(futures) > 20:
                    _take(futures, accepted[index], index)
            else:
                done = kernel.dispatch(note(stream, index, n), timeout=30)
                assert done.events[0].payload["n"] == n
                accepted[index].add((stream, index, n))
            if rng.random() < 0.01:
                with pytest.raises(CommandRejected):
                    kernel.dispatch(note(stream, index, n)._replace(type="refuse"), timeout=30)
        _take(futures, accepted[index], index)

    in_threads(THREADS, work, within=100)
    everything = [(stream, by, n) for stream in STREAMS for by, n in noted(store, stream)]
    assert len(everything) == len(set(everything))
    assert set(everything) == set().union(*accepted)
    check_order(store, STREAMS)
    check_states(kernel, store, STREAMS)
    assert domain.overlaps == []
    eventually(lambda: not kernel._runtime.services.owners)


def _take(futures, accepted, index):
    for stream, n, future in futures:
        future.result(30)
        accepted.add((stream, index, n))
    futures.clear()


def test_200_000_commands_are_each_counted_once_while_aggregates_are_passivated():
    seed, store, domain = new_seed(), MemoryStore(), Ledger()
    with Kernel({TYPE: domain}, store, passivation_timeout=0.001) as kernel:
        _hammer(kernel, store, domain, 200_000 // THREADS, seed, own_share=0.95)
        ended = kernel._runtime.services.manager.proxy().counts().get(timeout=5)[0]
        assert ended > 50, "hardly anything was passivated"


def test_submitted_and_dispatched_commands_mix_in_order():
    seed, store, domain = new_seed(), MemoryStore(), Ledger()
    with Kernel({TYPE: domain}, store, passivation_timeout=0.001) as kernel:
        _hammer(kernel, store, domain, 1500, seed, submit_share=0.3)


def test_at_most_a_few_live_aggregates_lose_nothing():
    seed, store, domain = new_seed(), MemoryStore(), Ledger()
    with Kernel({TYPE: domain}, store, max_live_aggregates=3, snapshot_interval=7) as kernel:
        _hammer(kernel, store, domain, 1000, seed)


@pytest.mark.parametrize("delay", [0.0, 0.002])
def test_appends_that_end_later_are_each_counted_once_too(delay):
    seed, domain = new_seed(), Ledger()
    store = DeferredStore(seed, delay)
    with Kernel({TYPE: domain}, store, passivation_timeout=0.001, snapshot_interval=10) as kernel:
        _hammer(kernel, store, domain, 1500 if not delay else 400, seed, submit_share=0.3)


def test_the_timer_alone_passivates_everything_that_is_idle():
    new_seed()
    idle = threading.Event()
    with Kernel({TYPE: Ledger()}, MemoryStore(), passivation_timeout=0.001) as kernel:
        for n in range(200):
            kernel.dispatch(note(f"i{n}", 0, n))
        for _ in range(500):
            if not kernel.live_aggregates():
                idle.set()
                break
            threading.Event().wait(0.01)
        assert idle.is_set()
        assert kernel._runtime.services.routes == {}
