import random
import threading
import time
from collections import Counter

import pytest
import structlog
from support import eventually, new_seed, run_threads

from eskernel.actors.pool import ActorPool, JobQueue
from eskernel.actors.supervision import Backoff, ChildSpec, Supervisor, stop_and_wait, watch

DEADLINE = 5
AT_ONCE = Backoff(first=0.0, longest=0.0)
ENDS = {
    "stop": lambda ref: ref.stop(block=False),
    "failing tell": lambda ref: ref.tell(ValueError("no")),
    "base exception": lambda ref: ref.tell(SystemExit()),
}


class Pool(ActorPool):
    """Fails when told an error, shows its threads, and waits for their last jobs."""

    def __init__(self, jobs, size, lingers=lambda: True):
        super().__init__(jobs, size, lingers)

    def on_receive(self, message):
        if isinstance(message, BaseException):
            raise message
        return self._threads if message == "threads" else super().on_receive(message)


def raising(error):
    def job():
        raise error

    return job


def threads_of(ref):
    return list(ref.ask("threads", timeout=DEADLINE))


@pytest.fixture(autouse=True)
def logs():
    with structlog.testing.capture_logs() as entries:
        yield entries


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    before = set(threading.enumerate())
    yield
    eventually(lambda: set(threading.enumerate()) <= before)


def test_jobs_run_at_the_same_time_on_so_many_daemon_threads():
    jobs = JobQueue()
    ref = Pool.start(jobs, 3)
    together = threading.Barrier(4)
    for _ in range(3):
        jobs.put(lambda: together.wait(DEADLINE))
    together.wait(DEADLINE)
    threads = threads_of(ref)
    assert len(threads) == 3
    assert all(thread.daemon for thread in threads)
    assert ref.stop(timeout=DEADLINE)


def test_stopping_finishes_the_jobs_queued_and_ends_the_threads():
    jobs, done = JobQueue(), []
    ref = Pool.start(jobs, 4)
    threads = threads_of(ref)
    for number in range(1000):
        jobs.put(lambda number=number: done.append(number))
    assert ref.stop(timeout=DEADLINE)
    assert sorted(done) == list(range(1000))
    assert not any(thread.is_alive() for thread in threads)


def test_one_thread_runs_the_jobs_in_order():
    jobs, done = JobQueue(), []
    for number in range(100):
        jobs.put(lambda number=number: done.append(number))
    assert jobs.qsize() == 100
    assert Pool.start(jobs, 1).stop(timeout=DEADLINE)
    assert done == list(range(100))


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_a_job_that_raises_costs_no_thread(logs, kind):
    jobs = JobQueue()
    ref = Pool.start(jobs, 2)
    threads = threads_of(ref)
    for _ in range(50):
        jobs.put(raising(kind("no")))
    together = threading.Barrier(3)
    for _ in range(2):
        jobs.put(lambda: together.wait(DEADLINE))
    together.wait(DEADLINE)
    assert all(thread.is_alive() for thread in threads)
    failed = [entry for entry in logs if entry["event"] == "pool_job_failed"]
    assert [type(entry["exc_info"]) for entry in failed] == [kind] * 50
    assert ref.stop(timeout=DEADLINE)


def test_a_failing_logger_costs_no_thread_either(monkeypatch):
    class Broken:
        def error(self, *_args, **_kwargs):
            raise OSError("broken pipe")

    monkeypatch.setattr("eskernel.actors.journal.log", Broken())
    jobs, ran = JobQueue(), threading.Event()
    ref = Pool.start(jobs, 1)
    jobs.put(raising(ValueError("no")))
    jobs.put(ran.set)
    assert ran.wait(DEADLINE)
    assert ref.stop(timeout=DEADLINE)


@pytest.mark.parametrize("way", ENDS)
def test_every_job_runs_exactly_once_while_the_pool_is_killed_and_restarted(way):
    seed = new_seed()
    rng = random.Random(seed)
    jobs, runs = JobQueue(), Counter()
    count, lock = 8000, threading.Lock()

    def job(number):
        with lock:
            runs[number] += 1
        if number % 500 == 7:
            raise SystemExit

    spec = ChildSpec("pool", lambda: Pool.start(jobs, 4))
    supervisor = Supervisor.start([spec], intensity=10**6, backoff=AT_ONCE)
    children = supervisor.proxy().children

    def pool():
        return children().get(timeout=DEADLINE)[0].ref

    def produce(numbers):
        for number in numbers:
            jobs.put(lambda number=number: job(number))
            if number % 200 == 0:
                time.sleep(rng.random() * 0.002)

    def kill():
        for _ in range(15):
            ref = eventually(pool)
            ENDS[way](ref)
            eventually(lambda ref=ref: not ref.is_alive())

    half = count // 2
    run_threads(lambda: produce(range(half)), lambda: produce(range(half, count)), kill)
    eventually(lambda: len(runs) == count)
    assert children().get(timeout=DEADLINE)[0].restarts >= 14
    assert supervisor.stop(timeout=DEADLINE)
    assert set(runs.values()) == {1}


@pytest.mark.parametrize("way", ENDS)
def test_the_threads_of_a_pool_end_while_another_one_serves_the_same_queue(way):
    jobs = JobQueue()
    other = Pool.start(jobs, 4)
    for _ in range(20):
        ref = Pool.start(jobs, 4)
        threads = threads_of(ref)
        ended = []
        watch(ref, ended.append)
        ENDS[way](ref)
        eventually(lambda ended=ended: ended)
        assert not any(thread.is_alive() for thread in threads)
    assert len([thread for thread in threads_of(other) if thread.is_alive()]) == 4
    assert other.stop(timeout=DEADLINE)


def test_a_stuck_job_delays_the_end_of_its_pool_by_its_patience_however_many_are_stuck(monkeypatch):
    monkeypatch.setattr(ActorPool, "patience", 0.1)
    jobs, release = JobQueue(), threading.Event()
    ref = Pool.start(jobs, 8)
    threads = threads_of(ref)
    for _ in range(8):
        jobs.put(lambda: release.wait(DEADLINE))
    eventually(lambda: jobs.qsize() == 0)
    before = time.monotonic()
    assert stop_and_wait(ref, DEADLINE)
    assert 0.1 <= time.monotonic() - before < 0.6
    assert all(thread.is_alive() for thread in threads)
    release.set()
    eventually(lambda: not any(thread.is_alive() for thread in threads))


def test_a_thread_stuck_in_a_job_does_not_keep_the_next_pool_busy(monkeypatch):
    monkeypatch.setattr(ActorPool, "patience", 0.02)
    jobs, release, done = JobQueue(), threading.Event(), threading.Event()
    old = Pool.start(jobs, 2)
    threads = threads_of(old)
    jobs.put(lambda: release.wait(DEADLINE))
    eventually(lambda: jobs.qsize() == 0)
    assert stop_and_wait(old, DEADLINE)
    new = Pool.start(jobs, 2)
    eventually(lambda: jobs.qsize() == 0)
    burnt = time.process_time()
    assert not done.wait(0.2)  # time to burn
    assert time.process_time() - burnt < 0.1
    assert jobs.qsize() == 0
    release.set()
    eventually(lambda: not any(thread.is_alive() for thread in threads))
    jobs.put(done.set)
    assert done.wait(DEADLINE)
    assert new.stop(timeout=DEADLINE)


def test_a_thread_that_was_left_behind_helps_to_empty_the_queue_and_ends(monkeypatch):
    monkeypatch.setattr(ActorPool, "patience", 0.02)
    jobs, release, done = JobQueue(), threading.Event(), []
    ref = Pool.start(jobs, 1)
    threads = threads_of(ref)
    jobs.put(lambda: release.wait(DEADLINE))
    eventually(lambda: jobs.qsize() == 0)
    jobs.put(lambda: done.append(1))
    assert stop_and_wait(ref, DEADLINE)
    release.set()
    eventually(lambda: not threads[0].is_alive())
    assert done == [1]


def test_a_thread_whose_token_was_dropped_ends_with_the_queue(monkeypatch):
    monkeypatch.setattr(ActorPool, "patience", 0.02)
    jobs, release = JobQueue(), threading.Event()
    ref = Pool.start(jobs, 1)
    threads = threads_of(ref)
    jobs.put(lambda: release.wait(DEADLINE))
    eventually(lambda: jobs.qsize() == 0)
    assert stop_and_wait(ref, DEADLINE)
    assert isinstance(jobs.get(timeout=DEADLINE), ActorPool)
    release.set()
    eventually(lambda: not threads[0].is_alive())


def test_a_pool_that_gets_no_more_threads_fails_and_ends_those_it_has(monkeypatch):
    started, original = [], threading.Thread.start

    def start(thread):
        if thread.name.startswith("eskernel-pool"):
            if len(started) == 2:
                raise RuntimeError("can't start new thread")
            started.append(thread)
        original(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    exits, jobs = [], JobQueue()
    watch(Pool.start(jobs, 4), exits.append)
    assert isinstance(eventually(lambda: exits)[0].reason, RuntimeError)
    assert len(started) == 2
    assert not any(thread.is_alive() for thread in started)
    assert jobs.qsize() == 0


def test_a_pool_may_be_stopped_by_one_of_its_own_jobs(monkeypatch):
    monkeypatch.setattr(ActorPool, "patience", 0.05)
    jobs, stopped = JobQueue(), []
    ref = Pool.start(jobs, 2)
    jobs.put(lambda: stopped.append(stop_and_wait(ref, DEADLINE)))
    assert eventually(lambda: stopped) == [True]


def test_a_pool_that_is_to_be_replaced_leaves_its_threads_to_their_last_jobs():
    jobs, go_on, done = JobQueue(), threading.Event(), []
    ref = Pool.start(jobs, 2, lambda: False)
    jobs.put(lambda: (go_on.wait(DEADLINE), done.append(1)))
    eventually(lambda: not jobs.qsize())
    before = time.monotonic()
    assert stop_and_wait(ref, DEADLINE)
    assert time.monotonic() - before < 1
    go_on.set()
    eventually(lambda: done)


def test_other_messages_are_pykkas():
    ref = ActorPool.start(JobQueue(), 1, lambda: True)
    assert ref.ask("what?", timeout=DEADLINE) is None
    assert ref.stop(timeout=DEADLINE)
