"""Three kernels, four shards, and leases that run out all the time."""

import random
import threading
import time
from collections import Counter
from functools import partial

import pytest
from fencing_memory import FencingMemory
from stress_helpers import TYPE, Ledger, check_states, in_threads, note, noted
from support import eventually, new_seed

from eskernel import Kernel, ShardLeases
from eskernel.errors import KernelStopped, NotOwner, StoreUnavailable
from eskernel.testing import ManualClock

pytestmark = pytest.mark.stress

STREAMS = [f"of {number}" for number in range(8)]
SECONDS = 2.0
"""How long it takes; the leases run by a clock of their own."""


class Slow(FencingMemory):
    """A store that takes its time, before and after it does what it is asked."""

    def __init__(self, clock, rng, failures):
        super().__init__(clock)
        self._rng, self._failures = rng, failures
        self.hook_lease = lambda *_: self.linger()

    def linger(self):
        if self._rng.random() < 0.2:
            time.sleep(self._rng.random() * 0.003)

    def append_fenced(self, commits, fences):
        self.linger()
        results = super().append_fenced(commits, fences)
        self.linger()
        if self._rng.random() < self._failures:
            raise StoreUnavailable("made to fail", outcome_unknown=True)
        return results


class Sleepy(Ledger):
    """A domain that now and then sleeps through a lease."""

    def __init__(self, linger):
        super().__init__()
        self.during = lambda _command: linger()


class Bench:
    """Kernels that come and go, by their present names."""

    def __init__(self, seed, failures):
        self.rng = random.Random(seed)
        self.clock = ManualClock()
        self.store = Slow(self.clock, self.rng, failures)
        self.kernels = [self.new_kernel(f"{index}") for index in range(3)]
        self.ends = time.monotonic() + SECONDS
        self.accepted = []  # appended to by all threads, which is atomic

    def new_kernel(self, owner):
        leases = ShardLeases(shards=4, seconds=1.0, owner=owner)
        options = {"clock": self.clock, "passivation_timeout": self.rng.choice([0.05, 50.0])}
        domain = Sleepy(self.store.linger)
        return Kernel({TYPE: domain}, self.store, shard_leases=leases, **options).start()

    def work(self, index):
        number = 0
        while time.monotonic() < self.ends:
            number += 1
            stream = self.rng.choice(STREAMS)
            command = note(stream, index, number, command_id=f"{index}/{number}")
            eventually(partial(self.is_accepted, command), timeout=20)
            self.accepted.append((stream, index, number))

    def is_accepted(self, command):
        try:
            self.rng.choice(self.kernels).dispatch(command)
        except (NotOwner, KernelStopped):
            return False
        except StoreUnavailable as error:
            assert error.outcome_unknown
            return False
        return True

    def let_time_pass(self):
        lives = 0
        while time.monotonic() < self.ends:
            time.sleep(self.rng.random() * 0.02)
            self.clock.advance(self.rng.choice([0.01, 0.1, 0.4, 1.1]))
            if self.rng.random() < 0.05:
                lives += 1
                index = self.rng.randrange(3)
                assert self.kernels[index].stop(timeout=10)
                self.kernels[index] = self.new_kernel(f"{index}/{lives}")

    def check(self):
        stored = [(stream, *one) for stream in STREAMS for one in noted(self.store, stream)]
        assert Counter(stored) == Counter(self.accepted)
        for kernel in self.kernels:
            check_states(kernel, self.store, STREAMS)
            assert kernel.stop(timeout=10)
            assert kernel._runtime.services.owners == {}
        assert self.store.owners() == {}


@pytest.mark.parametrize("failures", [0.0, 0.03])
def test_whoever_has_the_lease_decides_on_the_newest_state_and_nobody_else_stores(failures):
    bench = Bench(new_seed(), failures)
    timer = threading.Thread(target=bench.let_time_pass, daemon=True)
    timer.start()
    in_threads(12, bench.work, within=60)
    timer.join(20)
    bench.check()
    assert bench.store.refused > 0, "no lease was lost on the way"
    assert bench.store.conflicts == 0, "an append passed its fence, and was decided on less"
