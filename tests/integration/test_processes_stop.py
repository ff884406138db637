"""A ProcessKernel that is stopped: what is under way ends, and nothing is left."""

from __future__ import annotations

import gc
import threading

import pytest
from process_helpers import (
    descriptors,
    has_begun,
    in_thread,
    note,
    process_kernel,
    streams_at,
    waiting,
    workers_of,
)
from structlog.testing import capture_logs
from support import eventually, is_alive

from eskernel.errors import KernelStopped
from eskernel.processes.child import Child

STREAMS = [f"s{number}" for number in range(8)]


@pytest.fixture(autouse=True)
def _quiet_log():
    with capture_logs():
        yield


def test_stop_waits_for_what_is_under_way(sqlite_url, tmp_path):
    kernel = process_kernel(sqlite_url).start()
    path = tmp_path / "go-on"
    held = [kernel.submit(waiting(stream, path.with_name(stream))) for stream in STREAMS]
    eventually(lambda: all(has_begun(path.with_name(stream)) for stream in STREAMS))
    held += [kernel.submit(note(stream, 0, n)) for stream in STREAMS for n in range(20)]
    eventually(lambda: not any(slot._waiting for slot in kernel._running.slots))
    stopped = in_thread(lambda: kernel.stop(20))
    with pytest.raises(KernelStopped):
        eventually(lambda: kernel.dispatch(note("late", 1, 0)) and False)
    for stream in STREAMS:
        path.with_name(stream).touch()
    assert stopped() is True
    assert [future.exception(0) for future in held] == [None] * len(held)


def test_callbacks_that_take_long_hold_up_no_answer(sqlite_url, tmp_path):
    kernel = process_kernel(sqlite_url).start()
    held = kernel.submit(waiting("s0", tmp_path / "go-on"))
    eventually(lambda: has_begun(tmp_path / "go-on"))
    behind = [kernel.submit(note("s0", 0, n)) for n in range(6)]
    eventually(lambda: not any(slot._waiting for slot in kernel._running.slots))
    let_go = threading.Event()
    for future in (held, *behind):
        future.add_done_callback(lambda _: let_go.wait(20))
    stopped = in_thread(lambda: kernel.stop(5))
    (tmp_path / "go-on").touch()
    eventually(lambda: all(future.done() for future in (held, *behind)))
    assert [future.exception(0) for future in (held, *behind)] == [None] * 7
    let_go.set()
    assert stopped() is True


def test_a_stop_that_is_interrupted_leaves_nothing_either(sqlite_url, monkeypatch):
    kernel = process_kernel(sqlite_url).start()
    workers = workers_of()
    end, interrupted = Child.end, []

    def interrupt(self, timeout=0.0):
        if not interrupted:
            interrupted.append(self)
            raise KeyboardInterrupt
        return end(self, timeout)

    monkeypatch.setattr(Child, "end", interrupt)
    with pytest.raises(KeyboardInterrupt):
        kernel.stop()
    assert kernel.stop() is True
    assert not any(map(is_alive, workers))
    with kernel:
        assert kernel.dispatch(note("s0", 0, 1)).sequence == 1


def test_stop_kills_a_worker_that_hangs_and_the_kernel_starts_again(sqlite_url, tmp_path):
    kernel = process_kernel(sqlite_url).start()
    workers = workers_of()
    held = [kernel.submit(waiting(s, tmp_path / s)) for s in ("s0", *streams_at(kernel, 0, 3))]
    eventually(lambda: has_begun(tmp_path / "s0"))
    assert kernel.stop(0.1) is False
    for future in held:
        error = future.exception(0)
        assert getattr(error, "outcome_unknown", isinstance(error, KernelStopped)), error
    assert not any(map(is_alive, workers))
    with kernel:
        assert kernel.dispatch(note("s0", 0, 1)).sequence == 1


def test_rounds_of_start_and_stop_leave_nothing(sqlite_url):
    kernel = process_kernel(sqlite_url, workers=1)
    with kernel:  # what Python itself keeps after the first
        kernel.dispatch(note("s0", 0, 0))
    gc.collect()
    gc.disable()  # nothing is left to it
    try:
        before = (descriptors(), threading.active_count())
        for n in range(1, 6):
            with kernel:
                assert kernel.dispatch(note("s0", 0, n)).sequence == n + 1
            assert workers_of() == []
        eventually(lambda: descriptors() <= before[0] and threading.active_count() <= before[1])
    finally:
        gc.enable()
