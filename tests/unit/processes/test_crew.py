"""Jobs that came together are run once each, and none waits behind one that takes long."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from functools import partial

import pytest
from structlog.testing import capture_logs
from support import eventually, new_seed, run_threads

from eskernel.processes.crew import Crew


@pytest.fixture
def flushed():
    return []


@pytest.fixture
def crew(flushed):
    crew = Crew(lambda: flushed.append(threading.current_thread()))
    crew.start()
    yield crew
    crew.close()
    eventually(lambda: not [one for one in threading.enumerate() if one.name == "eskernel-crew"])


def run(crew, *jobs):
    crew.bring(jobs)
    crew.run()


def run_elsewhere(crew, *jobs):
    thread = threading.Thread(target=run, args=(crew, *jobs), daemon=True)
    thread.start()
    return thread


def test_quick_jobs_run_in_order_on_the_thread_that_brings_them(crew):
    ran = []
    run(crew, *[lambda n=n: ran.append((n, threading.current_thread())) for n in range(100)])
    assert ran == [(n, threading.current_thread()) for n in range(100)]


def test_who_brings_jobs_while_another_runs_some_leaves_them_to_that_one(crew):
    ran, begun, let_go = [], threading.Event(), threading.Event()
    runner = run_elsewhere(crew, lambda: (begun.set(), let_go.wait(10)))
    begun.wait(10)
    run(crew, lambda: ran.append(threading.current_thread()))
    assert threading.current_thread() not in ran
    let_go.set()
    runner.join(10)
    eventually(lambda: ran)


def test_what_waits_behind_a_long_job_is_run_by_others_and_answers_leave(crew, flushed):
    ran, let_go = [], threading.Event()
    runner = run_elsewhere(
        crew, lambda: ran.append("before"), lambda: let_go.wait(10), lambda: ran.append("behind")
    )
    eventually(lambda: ran == ["before", "behind"])
    eventually(lambda: flushed)
    run(crew, lambda: ran.append("later"))
    eventually(lambda: ran[2:] == ["later"])
    assert runner.is_alive()
    let_go.set()
    runner.join(10)


def test_answers_leave_while_the_last_job_takes_long(crew, flushed):
    let_go = threading.Event()
    runner = run_elsewhere(crew, lambda: None, lambda: let_go.wait(10))
    eventually(lambda: flushed)
    let_go.set()
    runner.join(10)


def test_a_job_that_raises_costs_no_other(crew):
    ran = []
    with capture_logs() as logs:
        run(crew, lambda: 1 / 0, lambda: ran.append(1))
    assert ran == [1]
    assert [entry["event"] for entry in logs] == ["pool_job_failed"]


def test_each_job_is_run_once_whoever_runs_it(crew):
    seed = new_seed()
    ran, lock = Counter(), threading.Lock()

    def job(key, rng):
        if rng.random() < 0.02:
            time.sleep(0.012)  # longer than a runner is waited for
        with lock:
            ran[key] += 1

    def bring(number):
        rng = random.Random(seed + number)
        for batch in range(20):
            keys = [(number, batch, n) for n in range(20)]
            run(crew, *[partial(job, key, rng) for key in keys])

    run_threads(*(lambda number=number: bring(number) for number in range(4)))
    eventually(lambda: len(ran) == 4 * 20 * 20)
    assert set(ran.values()) == {1}


def test_a_closed_one_begins_nothing_more_elsewhere(crew):
    ran, let_go = [], threading.Event()
    crew.close()
    runner = run_elsewhere(
        crew, lambda: let_go.wait(10), lambda: ran.append(threading.current_thread())
    )
    let_go.set()
    runner.join(10)
    assert ran == [runner]
