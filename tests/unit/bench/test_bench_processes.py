"""What the measures of many processes are made of does what its figures say."""

from __future__ import annotations

import os

from domains.pricing import Book
from eskernel import Kernel
from eskernel_stores import MemoryStore
from scripts.bench.measures.processes_failover import Kill, longest_wait
from scripts.bench.quotes import DOMAINS, TYPE, quotes_load
from scripts.bench.workers import workers_of, working


def test_every_quote_is_made_once():
    store = MemoryStore()
    with Kernel(DOMAINS, store) as kernel:
        load = quotes_load(kernel, 70)
        assert load.size == 70
        assert load.run() > 0
        assert kernel.state_of(TYPE, "book-0") == (Book(2, 428), 2)
    assert store.last_position() == 70


def test_workers_are_told_with_their_processes():
    with working(workers=2) as kernel:
        found = workers_of(kernel)
        for worker in found:
            os.kill(worker.pid, 0)
    assert [(worker.name, worker.restarts) for worker in found] == [
        ("worker-0", 0),
        ("worker-1", 0),
    ]
    assert len({worker.pid for worker in found}) == 2


def test_a_wait_is_counted_from_the_kill_or_from_the_command_if_that_is_later():
    before, under_way, later, after = (1.0, 2.0), (2.5, 3.5), (3.1, 3.9), (4.5, 9.0)
    assert longest_wait([before, under_way, after], Kill(3.0, 4.0)) == 0.5
    assert round(longest_wait([before, under_way, later, after], Kill(3.0, 4.0)), 6) == 0.8
