"""Shard leases in every store that can fence: who stops, dies, or sleeps in the middle of it."""

import os
import random
import signal
import threading
from collections import Counter
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import psutil
import pytest
from backends import FENCING
from kernel_helpers import TYPE, Tally, add, attempt, run_script
from store_helpers import log, start_program
from support import eventually, new_seed, run_threads

from eskernel import Accepted, Kernel, ShardLeases
from eskernel.errors import ConcurrencyConflict, KernelStopped, NotOwner, StaleEpoch

LONG = 600.0
"""Seconds of leases that nobody waits for."""
SHORT = 0.4
"""Of those that somebody does."""


@pytest.fixture(params=FENCING)
def backend(request):
    return request.param


@pytest.fixture
def begin(backend_url, open_url):
    """Starts kernels by the names they have as owners, each with a store of its own."""
    with ExitStack() as kernels:

        def begin(owner, *, seconds=LONG, **options):
            store = open_url(backend_url)
            leases = ShardLeases(shards=8, seconds=seconds, owner=owner, **options)
            kernel = Kernel({TYPE: Tally()}, store, dispatch_timeout=30, shard_leases=leases)
            kernel.refused = _count_refused(store)
            kernels.callback(partial(kernel.stop, timeout=10))
            return kernel.start()

        yield begin


def _count_refused(store):
    """Have the store's appends that somebody else has forestalled counted."""
    append, refused = store.append_fenced, Counter()

    def count(commits, fences):
        results = append(commits, fences)
        refused.update(type(one) for one in results if isinstance(one, Exception))
        return results

    store.append_fenced = count
    return refused


def numbers(store):
    """Return what was added to each aggregate, in order."""
    found = {}
    for event in log(store):
        found.setdefault(event.stream_id[1], []).append(event.payload["n"])
    return found


def follow(kernels, command):
    """Dispatch a command to whoever owns its aggregate."""
    kernel = random.choice(list(kernels.values()))

    def accepted():
        nonlocal kernel
        outcome = attempt(kernel.dispatch, command)
        if isinstance(outcome, NotOwner | KernelStopped):
            kernel = kernels.get(getattr(outcome, "owner", "")) or random.choice(
                list(kernels.values())
            )
            return None
        assert isinstance(outcome, Accepted), outcome
        return outcome

    return eventually(accepted, timeout=30)


_CHILD = """
sys.path.append({integration!r})
from kernel_helpers import TYPE, Tally, add, attempt
from eskernel import Kernel, ShardLeases

domain, store = Tally(), open_store({url!r})
leases = ShardLeases(shards=8, seconds={seconds}, owner="child")
kernel = Kernel({{TYPE: domain}}, store, dispatch_timeout=60, shard_leases=leases).start()
kernel.dispatch(add("a", 1))

def pause():
    say("paused")
    sys.stdin.readline()

def pause_in_domain(*_):
    del domain.hooks["handle_command"]
    pause()

append = store.append_fenced

def pause_before_append(*arguments):
    store.append_fenced = append
    pause()
    return append(*arguments)

if {where!r} == "domain":
    domain.hooks["handle_command"] = pause_in_domain
else:
    store.append_fenced = pause_before_append
outcome = attempt(kernel.dispatch, add("a", 2))
say((type(outcome).__name__, getattr(outcome, "owner", None)))
say((type(attempt(kernel.dispatch, add("a", 3))).__name__, kernel.state_of(TYPE, "a")[1]))
kernel.stop()
store.close()
"""


@contextmanager
def child(url, *, where, seconds=SHORT):
    """Start a process that owns `a`, with 1 in it, and pauses in the middle of adding 2."""
    source = _CHILD.format(
        integration=str(Path(__file__).parent), url=url, where=where, seconds=seconds
    )
    with start_program(source) as program:
        try:
            said = program.stdout.readline()
            assert said == "paused\n", said + program.stderr.read()
            yield program
        finally:
            program.kill()


def test_of_two_kernels_one_owns_an_aggregate_until_it_stops(begin):
    here, there = begin("here"), begin("there")
    here.dispatch(add("a", 1))
    with pytest.raises(NotOwner) as refusal:
        there.dispatch(add("a", 2))
    assert refusal.value.owner == "here"
    assert 0 < refusal.value.retry_after <= LONG
    assert there.state_of(TYPE, "a")[1] == 1
    here.stop()
    third = begin("third")
    assert third.dispatch(add("a", 3)).sequence == 2
    here.start()
    with pytest.raises(NotOwner, match="third"):
        here.dispatch(add("a", 4))


def test_a_successor_goes_on_at_once_where_a_killed_process_has_left(backend_url, begin):
    with child(backend_url, where="append", seconds=LONG) as program:
        program.kill()
        program.wait()
    with pytest.raises(NotOwner, match="child"):
        begin("other").dispatch(add("a", 3))
    assert begin("heir", predecessor="child").dispatch(add("a", 4)).sequence == 2


@pytest.mark.parametrize("where", ["domain", "append"])
def test_a_process_that_slept_through_its_lease_stores_nothing(backend_url, begin, where):
    with child(backend_url, where=where) as program:
        os.kill(program.pid, signal.SIGSTOP)
        process = psutil.Process(program.pid)
        eventually(lambda: process.status() == psutil.STATUS_STOPPED)
        here = begin("here", seconds=LONG)
        taken = follow({"here": here}, add("a", 10))
        assert taken.sequence == 2
        assert here.dispatch(add("a", 11)).sequence == 3
        os.kill(program.pid, signal.SIGCONT)
        out, errors = program.communicate("go on\n", timeout=60)
    assert (program.returncode, errors) == (0, "")
    assert out.splitlines() == ["('NotOwner', 'here')", "('NotOwner', 3)"]
    assert here.dispatch(add("a", 12)).sequence == 4
    assert numbers(here._store) == {"a": [1, 10, 11, 12]}
    assert here.refused == {}


def test_callers_who_follow_the_owner_meet_no_conflict(begin):
    random.seed(new_seed())
    kernels = {name: begin(name, seconds=5.0) for name in ("one", "two")}
    everybody = dict(kernels)
    accepted = []  # appended to by all threads, which is atomic
    half = threading.Barrier(17)

    def work(index):
        for number in range(20):
            if number == 10:
                half.wait(30)
            value = 1000 * index + number
            follow(kernels, add(f"of {value % 12}", value, command_id=f"c{value}"))
            accepted.append(value)

    def move():
        half.wait(30)
        kernels["three"] = everybody["three"] = begin("three", seconds=5.0)
        leaving = kernels.pop("two")
        assert leaving.stop(timeout=10)

    run_threads(move, *[partial(work, index) for index in range(16)], timeout=60)
    stored = numbers(everybody["one"]._store)
    assert Counter(n for one in stored.values() for n in one) == Counter(accepted)
    assert len(accepted) == 16 * 20
    refused = sum((kernel.refused for kernel in everybody.values()), Counter())
    assert refused[ConcurrencyConflict] == refused[StaleEpoch] == 0, refused
    for name, added in stored.items():
        state = {"total": sum(added), "count": len(added)}
        assert kernels["one"].state_of(TYPE, name) == (state, len(added))


def test_a_forked_child_gives_nothing_back(sqlite_url):
    said = run_script(
        f"""
        import os
        from kernel_helpers import TYPE, Tally, add, attempt
        from eskernel import Kernel, ShardLeases
        from eskernel_stores import open_store

        def begin(owner):
            store = open_store({sqlite_url!r})
            leases = ShardLeases(owner=owner, seconds=600)
            return Kernel({{TYPE: Tally()}}, store, shard_leases=leases).start()

        parent, other = begin("parent"), begin("other")
        parent.dispatch(add("a"))
        child = os.fork()
        if not child:
            parent.stop()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        print(attempt(other.dispatch, add("a")).owner, parent.dispatch(add("a")).sequence)
        parent.stop()
        other.stop()
        """
    )
    assert said == "parent 2\n"
