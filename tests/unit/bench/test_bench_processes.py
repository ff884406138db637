"""What the measures of many processes are made of does what its figures say."""

from __future__ import annotations

import os

from domains.pricing import Book
from eskernel import Kernel
from eskernel_stores import MemoryStore
from scripts.bench.measures.processes_failover import Kill, longest_wait
from scripts.bench.quotes import DOMAINS, TYPE, even_books, quotes_load
from scripts.bench.workers import workers_of, working


def test_every_caller_quotes_in_a_book_of_its_own():
    store = MemoryStore()
    with Kernel(DOMAINS, store) as kernel:
        load = quotes_load(kernel, ["a", "b"], 5)
        assert load.size == 4
        assert load.run() > 0
        assert [kernel.state_of(TYPE, book)[0] for book in "ab"] == [Book(2, 428), Book(2, 428)]
    assert store.last_position() == 4


def test_workers_are_told_with_their_processes_and_have_as_many_books():
    with working(DOMAINS, workers=2) as kernel:
        found, books = workers_of(kernel), even_books(kernel)
        for worker in found:
            os.kill(worker.pid, 0)
        live = [kernel.tree(max_aggregates=100).find(worker.name).walk() for worker in found]
        names = [{node.name for node in nodes} for nodes in live]
    assert [(worker.name, worker.restarts) for worker in found] == [
        ("worker-0", 0),
        ("worker-1", 0),
    ]
    assert len({worker.pid for worker in found}) == 2
    assert [sum(f"{TYPE}/{book}" in one for book in books) for one in names] == [8, 8]


def test_a_wait_is_counted_from_the_kill_or_from_the_command_if_that_is_later():
    before, under_way, later, after = (1.0, 2.0), (2.5, 3.5), (3.1, 3.9), (4.5, 9.0)
    assert longest_wait([before, under_way, after], Kill(3.0, 4.0)) == 0.5
    assert round(longest_wait([before, under_way, later, after], Kill(3.0, 4.0)), 6) == 0.8
