"""Commands of one thread to one aggregate are handled in the order it sent them."""

from __future__ import annotations

import random
import threading

import pytest
from stress_helpers import (
    TYPE,
    DeferredStore,
    Ledger,
    check_order,
    in_threads,
    note,
    noted,
)
from support import new_seed

from eskernel import Command, Kernel
from eskernel_stores import MemoryStore

pytestmark = pytest.mark.stress

MODES = [MemoryStore, DeferredStore]
STREAMS = ["a", "b", "c"]


def _submit_all(kernel, number, seed, dispatch_share=0.1):
    def work(index):
        rng = random.Random(seed * 50 + index)
        futures = []
        for n in range(number):
            stream = rng.choice(STREAMS)
            if rng.random() < dispatch_share:
                kernel.dispatch(note(stream, index, n), timeout=20)
            else:
                futures.append(kernel.submit(note(stream, index, n)))
            if len(futures) > 30:
                for future in futures:
                    future.result(20)
                futures.clear()
        for future in futures:
            future.result(20)

    in_threads(4, work, within=60)


def _check(store, number):
    check_order(store, STREAMS)
    assert sum(len(noted(store, stream)) for stream in STREAMS) == 4 * number


@pytest.mark.parametrize("mode", MODES)
def test_order_survives_passivation(mode):
    seed, store = new_seed(), mode()
    with Kernel({TYPE: Ledger()}, store, passivation_timeout=0.001) as kernel:
        _submit_all(kernel, 1500, seed)
    _check(store, 1500)


@pytest.mark.parametrize("mode", MODES)
def test_order_survives_stops_of_the_aggregate(mode):
    seed, store = new_seed(), mode()
    over = threading.Event()
    with Kernel({TYPE: Ledger()}, store) as kernel:

        def stopper():
            rng = random.Random(seed)
            while not over.wait(rng.random() * 0.002):
                ref = kernel.aggregate_ref(TYPE, rng.choice(STREAMS))
                if ref is not None:
                    ref.stop(block=False)

        thread = threading.Thread(target=stopper, daemon=True)
        thread.start()
        try:
            _submit_all(kernel, 1500, seed)
        finally:
            over.set()
            thread.join()
    _check(store, 1500)


@pytest.mark.parametrize("mode", MODES)
def test_order_survives_kills_of_the_supervisor(mode):
    seed, store = new_seed(), mode()
    over = threading.Event()
    with Kernel({TYPE: Ledger()}, store) as kernel:

        def killer():
            # At most 20 restarts in 10 seconds are allowed.
            for _ in range(12):
                if over.wait(0.1):
                    return
                supervisor = kernel._runtime.services.supervisor
                if supervisor is not None:
                    supervisor.actor_ref.stop(block=False)

        thread = threading.Thread(target=killer, daemon=True)
        thread.start()
        try:
            _submit_all(kernel, 1500, seed)
        finally:
            over.set()
            thread.join()
    _check(store, 1500)


def test_order_survives_crashes_of_the_domain():
    seed, store = new_seed(), MemoryStore()
    over = threading.Event()
    with Kernel({TYPE: Ledger()}, store) as kernel:

        def crasher():
            rng = random.Random(seed)
            while not over.wait(rng.random() * 0.002):
                kernel.submit(Command(TYPE, rng.choice(STREAMS), "crash"))

        thread = threading.Thread(target=crasher, daemon=True)
        thread.start()
        try:
            _submit_all(kernel, 1500, seed)
        finally:
            over.set()
            thread.join()
    _check(store, 1500)


class _Slowing(dict):
    """A routing table that calls back once, on a pool thread that has just published a route."""

    hook = None

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        if self.hook is not None and "eskernel-actor-pool" in threading.current_thread().name:
            hook, self.hook = self.hook, None
            hook()


def test_nobody_overtakes_requests_that_are_being_moved_to_a_successor():
    store, domain = MemoryStore(), Ledger()
    crashing, crash, published, go_on = (threading.Event() for _ in range(4))

    def during(command):
        if command.type == "crash":
            crashing.set()
            crash.wait(5)

    domain.during = during
    with Kernel({TYPE: domain}, store) as kernel:
        services = kernel._runtime.services
        services.routes = _Slowing(services.routes)
        kernel.submit(Command(TYPE, "a", "crash"))
        assert crashing.wait(5)
        services.routes.hook = lambda: (published.set(), go_on.wait(1))
        first = kernel.submit(note("a", 0, 1))
        crash.set()
        published.wait(5)
        try:
            kernel.dispatch(note("a", 0, 2))
        finally:
            go_on.set()
        first.result(5)
    assert noted(store, "a") == [(0, 1), (0, 2)]


def test_nobody_overtakes_a_request_that_came_while_the_actor_retired():
    store, domain = MemoryStore(), Ledger()
    crashing, crash, looked, change, changed, go_on = (threading.Event() for _ in range(6))

    def during(command):
        if command.type == "crash":
            crashing.set()
            crash.wait(5)

    domain.during = during
    with Kernel({TYPE: domain}, store) as kernel:
        services = kernel._runtime.services
        succeed = services.succeed

        def slow_succeed(actor, requests):
            services.succeed = succeed
            looked.set()
            change.wait(5)
            succeeded = succeed(actor, requests)
            changed.set()
            go_on.wait(1)
            return succeeded

        services.succeed = slow_succeed
        kernel.submit(Command(TYPE, "a", "crash"))
        assert crashing.wait(5)
        crash.set()
        assert looked.wait(5)
        first = kernel.submit(note("a", 0, 1))
        change.set()
        assert changed.wait(5)
        try:
            kernel.dispatch(note("a", 0, 2))
        finally:
            go_on.set()
        first.result(5)
    assert noted(store, "a") == [(0, 1), (0, 2)]
