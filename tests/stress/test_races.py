"""Races and corners found by reading: each test holds one of them open."""

from __future__ import annotations

import itertools
import sys
import threading
from collections import Counter

import pytest
import structlog
from interrupter import Interrupter, on_cpython_3_11
from killing import find, in_thread, no_gap, quiet_log, stop, works
from stress_helpers import TYPE, DeferredStore, Ledger, in_threads, note, noted
from support import eventually, new_seed

from eskernel import Kernel
from eskernel.actors import runtime
from eskernel.actors.aggregate.calling import dispatch_queued
from eskernel.actors.aggregate.replies import FutureReply
from eskernel.actors.aggregate.requests import CommandRequest
from eskernel.errors import EskernelError, KernelStopped, StoreUnavailable
from eskernel_stores import MemoryStore

__all__ = ["no_gap", "quiet_log"]

pytestmark = [pytest.mark.stress, pytest.mark.usefixtures("quiet_log")]

MODES = [MemoryStore, DeferredStore]


class _Gated(DeferredStore):
    """Writes only when let; notes how many commits came in each write."""

    def __init__(self):
        super().__init__()
        self.let_go = threading.Event()
        self.writing = threading.Event()
        self.batches = []

    def append_batch(self, commits):
        self.writing.set()
        assert self.let_go.wait(30)
        self.batches.append(len(commits))
        return super().append_batch(commits)


class _UnknownButStored(_Gated):
    """Stores all of its second write, and cannot tell of the first commit in it."""

    def append_batch(self, commits):
        results = super().append_batch(commits)
        if len(self.batches) == 2:
            results[0] = StoreUnavailable("no answer came", outcome_unknown=True)
        return results


def test_a_commit_stored_after_one_of_unknown_outcome_is_not_decided_again():
    store = _UnknownButStored()
    with Kernel({TYPE: Ledger()}, store) as kernel:
        kernel.submit(note("other", 0, 0))
        assert store.writing.wait(5)
        futures = [kernel.submit(note("a", 0, n)) for n in range(3)]
        eventually(lambda: len(kernel._runtime.services.commits) == 4)
        store.let_go.set()
        with pytest.raises(StoreUnavailable):
            futures[0].result(5)
        assert [future.result(5).sequence for future in futures[1:]] == [2, 3]
        assert kernel.state_of(TYPE, "a")[1] == 3
    assert store.batches[1] == 3
    assert noted(store, "a") == [(0, 0), (0, 1), (0, 2)]


def test_failing_appends_disturb_no_thread_that_looks_at_their_actor():
    before, problems = sys.getswitchinterval(), Counter()
    seed, domain = new_seed(), Ledger()
    store = DeferredStore(seed, delay=0.0003, failures=0.3)

    def work(index):
        futures = []
        for n in range(300):
            try:
                if n % 2:
                    kernel.dispatch(note("a", index, n), timeout=20)
                else:
                    futures.append(kernel.submit(note("a", index, n)))
            except StoreUnavailable:
                pass
            except BaseException as error:
                problems[repr(error)] += 1
        for future in futures:
            try:
                future.result(20)
            except StoreUnavailable:
                pass
            except BaseException as error:
                problems[repr(error)] += 1

    with structlog.testing.capture_logs() as logs, Kernel({TYPE: domain}, store) as kernel:
        sys.setswitchinterval(1e-6)
        try:
            in_threads(8, work, within=60)
        finally:
            sys.setswitchinterval(before)
    assert problems == {}
    assert [entry for entry in logs if entry["event"] == "pool_job_failed"] == []
    assert domain.overlaps == []


@pytest.mark.parametrize("mode", MODES)
def test_callbacks_of_futures_may_dispatch(mode):
    outcomes = []
    with Kernel({TYPE: Ledger()}, mode()) as kernel:

        def dispatch_next(future):
            try:
                outcomes.append(kernel.dispatch(note(f"next{id(future)}", 0, 1), timeout=2))
            except EskernelError as error:
                outcomes.append(error)

        futures = [kernel.submit(note(f"s{n}", 0, 1)) for n in range(2 * 8 + 1)]
        for future in futures:
            future.add_done_callback(dispatch_next)
        eventually(lambda: len(outcomes) == len(futures), timeout=10)
    assert [one for one in outcomes if isinstance(one, EskernelError)] == []


@pytest.mark.parametrize("timeout", [0.0, 0.2])
def test_stop_answers_every_caller_although_an_append_hangs(timeout):
    store = _Gated()
    kernel = Kernel({TYPE: Ledger()}, store).start()
    futures = [kernel.submit(note("a", 0, 0))]
    assert store.writing.wait(5)
    futures += [kernel.submit(note("b", 0, 0)), in_thread(kernel.dispatch, note("c", 0, 0))]
    eventually(lambda: len(kernel._runtime.services.commits) == 3)
    try:
        assert kernel.stop(timeout) is False
        for future in futures:
            with pytest.raises(EskernelError):
                future.result(10)
    finally:
        store.let_go.set()


def test_an_append_under_way_when_the_kernel_gives_up_waiting_has_an_unknown_outcome():
    store = _Gated()
    kernel = Kernel({TYPE: Ledger()}, store).start()
    future = kernel.submit(note("a", 0, 0))
    assert store.writing.wait(5)
    try:
        kernel.stop(timeout=7)  # longer than the committer is waited for
        with pytest.raises(StoreUnavailable) as answer:
            future.result(5)
        assert answer.value.outcome_unknown
    finally:
        store.let_go.set()
    eventually(lambda: noted(store, "a") == [(0, 0)])


def break_log(error):
    """Have logging raise; the fixture quiet_log restores it."""

    def raise_(*_):
        raise error

    structlog.configure(processors=[raise_])


@pytest.mark.parametrize("mode", MODES)
def test_a_log_that_raises_harms_nobody(mode):
    break_log(OSError("standard output is closed"))
    kernel = Kernel({TYPE: Ledger()}, mode()).start()
    kernel.dispatch(note("a", 0, 1))
    for name in ("root", "aggregate-supervisor", "aggregate-manager"):
        old = eventually(lambda name=name: find(kernel, name))
        stop(old)
        eventually(lambda old=old: not old.is_alive())
        works(kernel, f"after {name}", 1)
    kernel.dispatch(note("a", 0, 2))
    assert kernel.stop() is True


@pytest.mark.parametrize("error", [SystemExit, ZeroDivisionError])
def test_whatever_the_log_raises_the_pool_keeps_its_threads(error, monkeypatch):
    break_log(error("drawing the traceback failed"))
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    with Kernel({TYPE: Ledger()}, MemoryStore()) as kernel:
        jobs = kernel._runtime.services.jobs
        for _ in range(20):
            jobs.put(lambda: 1 // 0)
        eventually(lambda: not jobs.qsize())
        kernel.submit(note("a", 0, 1)).result(2)


@pytest.mark.parametrize("error", [SystemExit, ZeroDivisionError])
def test_whatever_the_log_raises_a_killed_actor_is_replaced(error, monkeypatch):
    break_log(error("drawing the traceback failed"))
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    with Kernel({TYPE: Ledger()}, MemoryStore()) as kernel:
        old = find(kernel, "aggregate-supervisor")
        old.tell(_Unspeakable())
        eventually(lambda: not old.is_alive(), timeout=2)
        works(kernel, "fresh", 1)


class _Unspeakable:
    def __repr__(self):
        raise ZeroDivisionError("no word for it")


def test_no_more_aggregates_live_than_may_after_a_kill_of_their_supervisor():
    with Kernel({TYPE: Ledger()}, MemoryStore(), max_live_aggregates=2) as kernel:
        for stream in ("a", "b"):
            kernel.dispatch(note(stream, 0, 1))
        old = find(kernel, "aggregate-supervisor")
        stop(old)
        eventually(lambda: find(kernel, "aggregate-supervisor") not in {old, None})
        for stream in ("c", "d"):
            kernel.dispatch(note(stream, 0, 1))
        for stream in ("a", "b"):
            kernel.submit(note(stream, 0, 2)).result(5)
        assert len(kernel.live_aggregates()) <= 2


@pytest.mark.parametrize("mode", MODES)
def test_a_command_for_an_actor_that_lost_its_route_outlives_the_supervisor(mode, no_gap):
    store = mode()
    with Kernel({TYPE: Ledger()}, store) as kernel:
        services = kernel._runtime.services
        kernel.dispatch(note("a", 0, 1))
        # As a thread that has read the route and is then held up by the scheduler.
        actor = services.routes[TYPE, "a"]
        actor.actor_ref.stop()
        eventually(lambda: not services.routes)
        no_gap.clear()
        stop(find(kernel, "aggregate-supervisor"))
        eventually(services.between_supervisors)
        dispatched = in_thread(dispatch_queued, services, actor, note("a", 1, 1), 5)
        submitted = FutureReply(services.outer_jobs.put)
        in_thread(actor.post, CommandRequest(note("a", 2, 1), submitted)).result(2)
        eventually(lambda: actor.waiting() == 2)
        no_gap.set()
        dispatched.result(3)
        submitted.future.result(3)
    assert sorted(noted(store, "a")) == [(0, 1), (1, 1), (2, 1)]


@on_cpython_3_11
def test_an_exception_while_waiting_for_a_supervisor_keeps_none_from_coming(no_gap):
    stuck = []
    for n in itertools.count():
        kernel = Kernel({TYPE: Ledger()}, MemoryStore()).start()
        no_gap.clear()
        stop(find(kernel, "aggregate-supervisor"))
        eventually(kernel._runtime.services.between_supervisors)
        opener = threading.Timer(0.005, no_gap.set)
        opener.start()
        interrupter = Interrupter(n)
        try:
            with interrupter:
                kernel.dispatch(note("fresh", 0, 1), timeout=2)
        except BaseException:
            pass
        opener.join()
        try:
            in_thread(kernel.dispatch, note("other", 0, 1), timeout=1).result(2)
        except (AssertionError, EskernelError):
            stuck.append((n, interrupter.where))
        threading.Thread(target=kernel.stop, daemon=True).start()
        if interrupter.where is None:
            break
    assert n > 10
    assert stuck == []


def test_requests_of_an_heir_whose_route_a_newcomer_took_are_not_lost():
    store = MemoryStore()
    with Kernel({TYPE: Ledger()}, store) as kernel:
        services = kernel._runtime.services
        kernel.dispatch(note("a", 0, 1))
        # As after an interruption between the creation of the heir and its publication.
        actor = services.routes[TYPE, "a"]
        actor.actor_ref.stop()
        eventually(lambda: not services.routes)
        actor.heir = services.supervisor.create((TYPE, "a"))
        submitted = FutureReply(services.outer_jobs.put)
        actor.heir.enqueue(CommandRequest(note("a", 1, 1), submitted))
        kernel.dispatch(note("a", 0, 2))
        assert services.succeed(actor, list)
        submitted.future.result(3)
        assert actor.heir is None
    assert noted(store, "a") == [(0, 1), (0, 2), (1, 1)]


def test_a_root_that_cannot_be_started_again_leaves_the_kernel_failed(monkeypatch):
    with Kernel({TYPE: Ledger()}, MemoryStore()) as kernel:

        def no_thread(*_, **__):
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(runtime.KernelSupervisor, "start", no_thread)
        stop(find(kernel, "root"))
        eventually(lambda: kernel._runtime.services.refusal)
        with pytest.raises(KernelStopped, match="can't start new thread"):
            kernel.dispatch(note("a", 0, 1))
