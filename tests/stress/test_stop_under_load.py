"""stop() while many threads use the kernel: every call ends, and nothing accepted is lost."""

from __future__ import annotations

import random
import threading
import time

import pytest
from stress_helpers import TYPE, DeferredStore, Ledger, check_states, note, noted
from support import new_seed

from eskernel import Kernel
from eskernel.errors import KernelStopped, Overloaded
from eskernel_stores import MemoryStore

pytestmark = pytest.mark.stress

THREADS, ROUNDS = 16, 30
STREAMS = [f"s{number}" for number in range(6)]


@pytest.mark.parametrize("mode", [MemoryStore, DeferredStore])
def test_every_call_ends_when_the_kernel_stops_and_starts_again(mode):
    seed, store, domain = new_seed(), mode(), Ledger()
    rng = random.Random(seed)
    kernel = Kernel({TYPE: domain}, store, passivation_timeout=0.01, inbox_limit=50)
    accepted: set = set()
    for round_ in range(ROUNDS):
        kernel.start()
        took: list[float] = []
        stopper = threading.Timer(rng.random() * 0.05, _note_time, (kernel.stop, took))
        stopper.start()
        _use(kernel, round_, seed, accepted)
        stopper.join()
        assert took[0] < 3
        stored = [(s, *one) for s in STREAMS for one in noted(store, s)]
        assert len(stored) == len(set(stored))
        assert set(stored) == accepted
        assert kernel._runtime.services.owners == {}
    with kernel:
        check_states(kernel, store, STREAMS)
    assert domain.overlaps == []


def _note_time(function, took):
    begun = time.monotonic()
    assert function() is True
    took.append(time.monotonic() - begun)


def _use(kernel, round_, seed, accepted):
    """Call until the kernel refuses; every call must end."""
    errors: list = []

    def work(index):
        rng = random.Random(f"{seed} {round_} {index}")
        futures, n = [], 0
        try:
            while True:
                n += 1
                stream, number = rng.choice(STREAMS), round_ * 1_000_000 + n
                kind = rng.random()
                try:
                    if kind < 0.4:
                        kernel.dispatch(note(stream, index, number), timeout=20)
                        accepted.add((stream, index, number))
                    elif kind < 0.8:
                        future = kernel.submit(note(stream, index, number))
                        futures.append((stream, number, future))
                    else:
                        kernel.state_of(TYPE, stream, timeout=20)
                except Overloaded:
                    time.sleep(0.001)
        except KernelStopped:
            pass
        except BaseException as error:
            errors.append(error)
        for stream, number, future in futures:
            try:
                future.result(10)
                accepted.add((stream, index, number))
            except KernelStopped:
                pass
            except BaseException as error:
                errors.append(error)

    threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive(), "a call hangs"
    assert errors == []


def _pass_on(command, call_next):
    return call_next(command)


def test_submitted_chains_of_middleware_are_answered_when_the_kernel_stops():
    seed = new_seed()
    rng = random.Random(seed)
    for round_ in range(10):
        kernel = Kernel({TYPE: Ledger()}, MemoryStore(), middleware=[_pass_on]).start()
        stopper = threading.Timer(rng.random() * 0.03, kernel.stop)
        stopper.start()
        _use(kernel, round_, seed, set())
        stopper.join()


def test_a_chain_submitted_while_the_kernel_stops_is_answered():
    kernel = Kernel({TYPE: Ledger()}, MemoryStore(), middleware=[_pass_on]).start()
    refuse_reentrance = kernel._refuse_reentrance

    def stop_meanwhile(services):
        refuse_reentrance(services)
        kernel.stop()

    kernel._refuse_reentrance = stop_meanwhile
    future = kernel.submit(note("a", 0, 1))
    with pytest.raises(KernelStopped):
        future.result(1)
