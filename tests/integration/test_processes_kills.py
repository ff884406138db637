"""A ProcessKernel whose workers, parent and server are killed, stopped and told to end."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import psutil
import pytest
from process_helpers import (
    TYPE,
    Load,
    all_gone,
    attempt,
    check_states,
    check_stored,
    has_begun,
    is_stopped,
    note,
    pid_at,
    process_kernel,
    program,
    stored,
    streams_at,
    waiting,
)
from structlog.testing import capture_logs
from support import eventually, is_alive

from eskernel import Accepted, Command
from eskernel.errors import DispatchTimeout, KernelStopped, StoreUnavailable

STREAMS = [f"s{number}" for number in range(8)]


@pytest.fixture(autouse=True)
def _quiet_log():
    with capture_logs():
        yield


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """The URL of a database for tests that each have streams of their own there."""
    return f"sqlite:///{tmp_path_factory.mktemp('kills') / 'events.db'}"


@pytest.fixture(scope="module")
def kernel(url):
    with process_kernel(url) as kernel:
        yield kernel


# Workers.


def test_a_worker_that_is_told_to_end_answers_what_it_has_and_is_replaced(kernel, url, tmp_path):
    (stream,) = streams_at(kernel, 0, 1, "told")
    path = tmp_path / "go-on"
    futures = [kernel.submit(waiting(stream, path))]
    eventually(lambda: has_begun(path))
    futures += [kernel.submit(note(stream, 0, n)) for n in range(20)]
    pid = pid_at(kernel, 0)
    os.kill(pid, signal.SIGTERM)
    path.touch()
    futures += [kernel.submit(note(stream, 1, n)) for n in range(20)]
    assert [future.result(10).sequence for future in futures] == list(range(1, 42))
    eventually(lambda: pid_at(kernel, 0) != pid, timeout=10)
    check_states(kernel, url, [stream])


def test_workers_told_to_end_under_load_fail_no_call(kernel, url):
    with Load(kernel, [f"load{number}" for number in range(8)]) as load:
        for place in (0, 1):
            pid = pid_at(kernel, place)
            os.kill(pid, signal.SIGTERM)
            eventually(lambda place=place, pid=pid: pid_at(kernel, place) != pid, timeout=10)
            load.go_on()
    load.check(url)
    assert load.errors == []


def test_a_worker_that_is_stopped_lets_callers_go_in_time_and_goes_on_when_it_is_continued(
    kernel, url
):
    (stream,), (other,) = (streams_at(kernel, place, 1, "stopped") for place in (0, 1))
    kernel.dispatch(note(stream, 0, 0))
    pid = pid_at(kernel, 0)
    os.kill(pid, signal.SIGSTOP)
    try:
        eventually(lambda: is_stopped(pid))  # else it may stop while it holds the database's lock
        future = kernel.submit(note(stream, 0, 1))
        with pytest.raises(DispatchTimeout) as caught:
            kernel.dispatch(note(stream, 0, 2), timeout=0.05)
        assert caught.value.started
        with pytest.raises(DispatchTimeout):
            kernel.state_of(TYPE, stream, timeout=0.05)
        assert kernel.dispatch(note(other, 0, 0)).sequence == 1
    finally:
        os.kill(pid, signal.SIGCONT)
    assert future.result(10).sequence == 2
    kernel.dispatch(note(stream, 0, 3))
    assert pid_at(kernel, 0) == pid
    accepted = {(stream, 0, n) for n in (0, 1, 3)} | {(other, 0, 0)}
    check_stored(url, [stream, other], accepted, unknown={(stream, 0, 2)})


def test_a_command_that_ends_its_process_each_time_is_given_up_and_takes_no_other_along(
    kernel, url, tmp_path
):
    busy, deadly = streams_at(kernel, 0, 2, "poisoned")
    path, tries = tmp_path / "go-on", tmp_path / "tries"
    held = [kernel.submit(waiting(busy, path, command_id="busy"))]
    eventually(lambda: has_begun(path))
    held += [kernel.submit(note(busy, 0, n, command_id=f"id {n}")) for n in range(10)]
    without = [kernel.submit(note(busy, 1, n)) for n in range(10)]
    first = pid_at(kernel, 0)
    poison = kernel.submit(Command(TYPE, deadly, "exit", str(tries), command_id="poison"))
    for future in without:
        with pytest.raises(StoreUnavailable, match="give commands a command_id") as caught:
            future.result(10)
        assert caught.value.outcome_unknown
    second = eventually(lambda: (pid := pid_at(kernel, 0)) != first and pid, timeout=10)
    eventually(lambda: pid_at(kernel, 0) != second, timeout=10)
    path.touch()
    with pytest.raises(StoreUnavailable, match="sent 3 times, and given up") as caught:
        poison.result(20)
    assert caught.value.outcome_unknown
    assert tries.read_text() == "xxx"
    assert [future.result(10).sequence for future in held] == list(range(1, 12))
    assert kernel.dispatch(note(deadly, 0, 0)).sequence == 1
    accepted = {(busy, "wait", 0), (deadly, 0, 0)} | {(busy, 0, n) for n in range(10)}
    check_stored(url, [busy, deadly], accepted, unknown={(busy, 1, n) for n in range(10)})


def test_a_worker_whose_kernel_gives_up_starts_it_again(kernel, url):
    (stream,) = streams_at(kernel, 0, 1, "giving")
    outcome = attempt(kernel.dispatch, Command(TYPE, stream, "give up"))
    assert isinstance(outcome, Accepted | KernelStopped), outcome
    done = eventually(lambda: accepted(kernel, note(stream, 0, 0)), timeout=10)
    assert done.sequence <= 2


def accepted(kernel, command):
    outcome = attempt(kernel.dispatch, command)
    return None if isinstance(outcome, KernelStopped) else outcome


def test_a_worker_is_replaced_though_a_fork_of_it_lives_and_has_its_socket(tmp_path, sqlite_url):
    note_of_fork = tmp_path / "fork"
    os.environ["ESKERNEL_TEST_FORK"] = str(note_of_fork)
    try:
        with process_kernel(
            sqlite_url, workers=1, initializer="process_initializers:fork"
        ) as kernel:
            (stream,) = streams_at(kernel, 0, 1)
            kernel.dispatch(note(stream, 0, 0))
            os.kill(pid_at(kernel, 0), signal.SIGKILL)
            assert kernel.dispatch(note(stream, 0, 1, command_id="1")).sequence == 2
    finally:
        del os.environ["ESKERNEL_TEST_FORK"]
        for pid in note_of_fork.read_text().split():
            os.kill(int(pid), signal.SIGKILL)


# The server.


def test_a_database_and_a_worker_killed_under_load_cost_nothing_but_time(
    postgresql_url, postgresql_to_kill
):
    with process_kernel(postgresql_url) as kernel:
        pids = [pid_at(kernel, place) for place in (0, 1)]
        with Load(kernel, STREAMS) as load:
            postgresql_to_kill.kill()
            eventually(lambda: load.errors, timeout=20)
            os.kill(pids[0], signal.SIGKILL)  # no other can be started now
            postgresql_to_kill.start()
            load.go_on()
        load.check(postgresql_url)
        assert pid_at(kernel, 0) != pids[0]
        assert pid_at(kernel, 1) == pids[1]


# The parent.

PARENT = """
import ctypes, json, os, signal, sys, threading
import structlog
from process_helpers import note, process_kernel, workers_of

def work(index):
    n = 0
    while True:
        n += 1
        stream = f"s{n % 8}"
        options = {"command_id": f"{index} {n}"} if n % 2 else {}
        if n % 3:
            kernel.dispatch(note(stream, index, n, **options), timeout=20)
        else:
            kernel.submit(note(stream, index, n, **options)).result(20)
        os.write(1, (json.dumps([stream, index, n]) + "\\n").encode())

if __name__ == "__main__":
    kernel = process_kernel(sys.argv[1]).start()
    print(json.dumps([worker.pid for worker in workers_of()]), flush=True)
    # Where C forks, Python closes nothing.
    child = os.fork() if sys.argv[2] == "python" else ctypes.PyDLL(None).fork()
    if not child:
        os.close(1)
        signal.pause()
    print(child, flush=True)
    for index in range(8):
        threading.Thread(target=work, args=(index,), daemon=True).start()
    signal.pause()
"""


@pytest.mark.parametrize("fork", ["python", "c"])
def test_workers_of_a_killed_parent_end_and_what_was_acknowledged_is_there(sqlite_url, fork):
    parent = program(PARENT, sqlite_url, fork)
    lines = iter(parent.stdout)
    workers = [psutil.Process(pid) for pid in json.loads(next(lines))]
    child = int(next(lines))
    accepted = {tuple(json.loads(next(lines))) for _ in range(200)}
    try:
        parent.kill()
        rest = [line for line in lines if line.endswith("\n")]
        parent.wait()
        all_gone(workers)
        assert len(workers) >= 2
        assert is_alive(psutil.Process(child))
    finally:
        parent.stdout.close()
        os.kill(child, signal.SIGKILL)
    accepted |= {tuple(json.loads(line)) for line in rest}
    under_way = {(event.stream_id[1], *noted(event)) for event in stored(sqlite_url)} - accepted
    assert len(under_way) <= 8
    with process_kernel(sqlite_url) as kernel:
        kernel.dispatch(note("s0", 99, 1))
        check_stored(sqlite_url, STREAMS, accepted | {("s0", 99, 1)}, unknown=under_way)
        check_states(kernel, sqlite_url, STREAMS)


def noted(event):
    return event.payload["by"], event.payload["n"]


def test_signals_to_the_whole_group_leave_it_to_the_parent_what_to_do(sqlite_url):
    source = """
    import signal, sys, time
    from process_helpers import note, process_kernel, workers_of

    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with process_kernel(sys.argv[1]) as kernel:
        kernel.dispatch(note("s0", 0, 0))
        before = workers_of()
        try:
            print("ready", flush=True)
            time.sleep(20)
        except KeyboardInterrupt:
            for n in range(1, 10):
                kernel.dispatch(note(f"s{n}", 0, n))
            print(set(before) <= set(workers_of()), flush=True)
        futures = [kernel.submit(note(f"s{n}", 1, n)) for n in range(100)]
        try:
            print(futures[0].result(10).sequence, flush=True)
            while any(slot._waiting for slot in kernel._running.slots):
                time.sleep(0.001)
            print("sent", flush=True)
            time.sleep(20)
        except SystemExit:
            print(kernel.stop(), [one for one in futures if one.exception() is not None])
    """
    parent = program(source, sqlite_url, start_new_session=True, stderr=subprocess.STDOUT)
    assert parent.stdout.readline() == "ready\n"
    os.killpg(parent.pid, signal.SIGINT)
    assert [parent.stdout.readline() for _ in range(3)] == ["True\n", "2\n", "sent\n"]
    os.killpg(parent.pid, signal.SIGTERM)
    assert parent.communicate(timeout=30)[0] == "True []\n"
    assert parent.returncode == 0
