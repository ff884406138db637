"""Exceptions that arrive at any bytecode of a command run by its caller.

An `Interrupter` raises at the n-th point of one dispatch, and the test repeats that for every n.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from fencing_memory import FencingMemory
from interrupter import Interrupted, Interrupter, on_cpython_3_11
from stress_helpers import (
    TYPE,
    DeferredStore,
    Ledger,
    check_states,
    in_threads,
    note,
    noted,
    raise_in,
)
from support import eventually, new_seed

from eskernel import Accepted, Command, Kernel, ShardLeases
from eskernel.actors.aggregate.turns import Turn
from eskernel.errors import EskernelError, StoreUnavailable
from eskernel_stores import MemoryStore

pytestmark = [pytest.mark.stress, on_cpython_3_11]


class _Bench:
    """A kernel, and threads that use it besides the one that is interrupted."""

    def __init__(self, make_store, **options):
        self._make = lambda: (make_store(), Ledger())
        self._options = options
        self.others = ThreadPoolExecutor(4)
        self.kernel = None
        self.renew()

    def renew(self):
        if self.kernel is not None:
            threading.Thread(target=self.kernel.stop, daemon=True).start()
        self.store, self.domain = self._make()
        self.kernel = Kernel({TYPE: self.domain}, self.store, **self._options).start()

    def elsewhere(self, function, *args, **options):
        return self.others.submit(function, *args, **options)

    def queue(self, stream, *commands):
        """Have other threads wait behind a busy actor; it is free again on return."""
        owners = self.kernel._runtime.services.owners
        actor = self.kernel._runtime.services.routes[TYPE, stream]
        owners[actor] = Turn()
        waiting = []
        for command in commands:
            before = len(actor.mailbox)
            waiting.append(self.elsewhere(self.kernel.dispatch, command, timeout=4))
            eventually(lambda before=before: len(actor.mailbox) > before)
        del owners[actor]
        return waiting

    def close(self):
        self.kernel.stop()
        self.others.shutdown(wait=False)


def _seeded(bench, stream):
    for n in (1, 2, 3):
        bench.kernel.dispatch(note(stream, 0, n))


def _plain(bench, stream):
    _seeded(bench, stream)
    return note(stream, 0, 4), []


def _fresh(bench, stream):
    return note(stream, 0, 4), []


def _with_id(bench, stream):
    _seeded(bench, stream)
    return note(stream, 0, 4, command_id="c4", metadata={"a": 1}, tags=("t",)), []


def _rehydrating(bench, stream):
    _seeded(bench, stream)
    bench.kernel.aggregate_ref(TYPE, stream).stop()
    return note(stream, 0, 4), []


def _rejected(bench, stream):
    _seeded(bench, stream)
    return Command(TYPE, stream, "refuse", [0, 0]), []


def _crashing(bench, stream):
    _seeded(bench, stream)
    return Command(TYPE, stream, "crash", [0, 0]), []


def _draining(bench, stream):
    _seeded(bench, stream)
    waiting = bench.queue(stream, note(stream, 1, 1), note(stream, 2, 1))
    return note(stream, 0, 4), waiting


def _draining_a_crash(bench, stream):
    _seeded(bench, stream)
    crash = Command(TYPE, stream, "crash", [0, 0])
    waiting = bench.queue(stream, crash, note(stream, 1, 1), note(stream, 2, 1))
    return note(stream, 0, 4), waiting


IMMEDIATE = [
    _plain,
    _fresh,
    _with_id,
    _rehydrating,
    _rejected,
    _crashing,
    _draining,
    _draining_a_crash,
]


def _problems(bench, stream, waiting, before):
    """Return what is wrong after an interruption."""
    found = []
    try:
        begun = time.monotonic()
        bench.elsewhere(bench.kernel.dispatch, note(stream, 9, 9), timeout=3).result(4)
        if time.monotonic() - begun > 1:
            found.append("the next dispatch took a second")
    except BaseException as error:
        found.append(f"the next dispatch: {error!r}")
    accepted = set()
    for other in waiting:
        try:
            done = other.result(5)
            accepted.update((e.payload["by"], e.payload["n"]) for e in done.events)
        except StoreUnavailable as error:
            if not error.outcome_unknown:
                found.append(f"another caller: {error!r}")
        except EskernelError as error:
            if "crash" not in str(error):
                found.append(f"another caller: {error!r}")
        except BaseException as error:
            found.append(f"another caller: {error!r}")
    stored = noted(bench.store, stream)
    if len(stored) != len(set(stored)):
        found.append(f"stored twice: {stored}")
    if not accepted <= set(stored):
        found.append(f"accepted, not stored: {accepted - set(stored)}")
    owners = bench.kernel._runtime.services.owners
    end = time.monotonic() + 1
    while owners and time.monotonic() < end:
        time.sleep(0.001)
    if owners:
        found.append("an actor is owned for ever")
    if not found:
        try:
            bench.elsewhere(check_states, bench.kernel, bench.store, [stream]).result(6)
        except BaseException as error:
            found.append(f"state: {error!r}")
    if bench.domain.overlaps:
        found.append("two threads in one aggregate")
    return found


def _interrupt_everywhere(bench, prepare, also=lambda bench: []):
    failures, hits = [], 0
    try:
        for n in itertools.count():
            stream = f"{prepare.__name__}{n}"
            command, waiting = prepare(bench, stream)
            interrupter = Interrupter(n)
            try:
                with interrupter:
                    bench.kernel.dispatch(command, timeout=3)
            except (Interrupted, EskernelError):
                pass
            problems = _problems(bench, stream, waiting, n) + also(bench)
            if problems:
                failures.append((n, interrupter.where, problems))
                bench.renew()
                if len(failures) >= 6:
                    break
            if interrupter.where is None:
                break
            hits += 1
    finally:
        bench.close()
    assert hits > 5
    assert failures == []


@pytest.mark.parametrize("prepare", IMMEDIATE)
def test_an_exception_at_any_bytecode_harms_only_its_own_dispatch(prepare):
    _interrupt_everywhere(_Bench(MemoryStore, snapshot_interval=2), prepare)


@pytest.mark.parametrize("prepare", IMMEDIATE)
def test_nor_when_appends_end_later(prepare):
    _interrupt_everywhere(_Bench(DeferredStore, snapshot_interval=2), prepare)


def _unowned(bench, stream):
    return note(stream, 0, 1), []


def _run_out(bench, stream):
    _seeded(bench, stream)
    shard = bench.kernel._runtime.services.shards.of((TYPE, stream))
    shard.standing = shard.standing._replace(until=0.0)
    return note(stream, 0, 4), []


def _taken_over(bench, stream):
    _seeded(bench, stream)
    name = bench.kernel._runtime.services.shards.of((TYPE, stream)).name
    bench.store.release_leases([name], "here")
    bench.store.acquire_leases([name], "there", 0)
    waiting = bench.queue(stream, note(stream, 1, 1))
    return note(stream, 0, 4), waiting


@pytest.mark.parametrize("prepare", [_unowned, _run_out, _taken_over])
def test_nor_does_one_on_the_way_to_a_lease(prepare):
    leases = ShardLeases(shards=4096, seconds=600, owner="here")
    _interrupt_everywhere(_Bench(FencingMemory, shard_leases=leases), prepare)


class _Positions:
    """A projection whose state is the positions it has handled."""

    version = 1

    @staticmethod
    def init():
        return []

    @staticmethod
    def handle_event(event, state):
        return [*state, event.position][-100:]


@pytest.mark.parametrize("mode", [MemoryStore, DeferredStore])
def test_nor_with_somebody_who_follows_the_log_and_misses_nothing(mode):
    def has_seen_all(bench):
        newest = bench.store.last_position()
        projection = bench.kernel.projection("positions")
        projection.wait_for(newest, 5)
        first = max(1, newest - 99)
        found = projection.state
        return [] if found == [*range(first, newest + 1)] else [f"handled: {found}"]

    bench = _Bench(mode, projections={"positions": _Positions})
    _interrupt_everywhere(bench, _seeded_once, has_seen_all)


def _seeded_once(bench, stream):
    bench.kernel.dispatch(note(stream, 0, 1))
    return note(stream, 0, 2), []


def test_the_limit_of_live_aggregates_outlives_an_exception():
    count = itertools.count()

    def still_evicts(bench):
        for _ in range(3):
            bench.kernel.dispatch(note(f"more{next(count)}", 0, 1))
        live = len(bench.kernel.live_aggregates())
        return [] if live <= 3 else [f"{live} live aggregates"]

    _interrupt_everywhere(_Bench(MemoryStore, max_live_aggregates=2), _fresh, still_evicts)


# One of them may arrive in a weak reference's callback, which cannot pass it on.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("quick_switches")
@pytest.mark.parametrize("mode", [MemoryStore, DeferredStore])
def test_random_exceptions_on_hammering_threads_lose_and_repeat_nothing(mode):
    seed, store, domain = new_seed(), mode(), Ledger()
    streams = ["a", "b", "c", "d"]
    accepted: set = set()
    interrupted = [0]
    over = threading.Event()
    # A thread is in `alive` only while it may be interrupted.
    alive: dict[int, int] = {}
    with Kernel({TYPE: domain}, store, snapshot_interval=5) as kernel:

        def interrupt():
            rng = random.Random(seed)
            while not over.wait(0.001 + rng.random() * 0.003):
                if victims := list(alive):
                    raise_in(rng.choice(victims), Interrupted)

        def work(index):
            rng = random.Random(seed * 20 + index)
            me, n = threading.get_ident(), 0
            ends = time.monotonic() + 4
            while time.monotonic() < ends:
                n += 1
                stream = rng.choice(streams)
                done = None
                try:
                    alive[me] = 1
                    done = kernel.dispatch(note(stream, index, n), timeout=10)
                    del alive[me]
                    _look()
                except Interrupted:
                    interrupted[0] += 1
                except StoreUnavailable as error:
                    assert error.outcome_unknown
                finally:
                    try:
                        alive.pop(me, None)
                        _look()  # what is under way arrives here at the latest
                    except Interrupted:
                        interrupted[0] += 1
                if done.__class__ is Accepted:
                    accepted.add((stream, index, n))

        thread = threading.Thread(target=interrupt, daemon=True)
        thread.start()
        try:
            in_threads(8, _shielded(work), within=40)
        finally:
            over.set()
            thread.join()
        stored = [(s, *one) for s in streams for one in noted(store, s)]
        assert len(stored) == len(set(stored))
        assert accepted <= set(stored)
        assert interrupted[0] > 50
        eventually(lambda: not kernel._runtime.services.owners)
        check_states(kernel, store, streams)
    assert domain.overlaps == []


def _look():
    """Do nothing; on entry CPython looks whether an exception has arrived."""


def _shielded(work):
    def run(index):
        while True:
            try:
                work(index)
            except Interrupted:  # it came between two statements of the test
                continue
            return

    return run
