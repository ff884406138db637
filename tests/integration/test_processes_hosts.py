"""ProcessKernels in programs that fork, that others fork, or that are odd in another way."""

from __future__ import annotations

import http.client
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from free_ports import free_ports
from process_helpers import PATHS, all_gone, note, process_kernel, program, stored, workers_of
from support import eventually, run_threads

# Forks.


def test_a_forked_child_lets_the_kernel_alone_and_the_parent_goes_on(sqlite_url):
    out = run(
        """
        import os, signal, sys, threading
        from contextlib import suppress
        from process_helpers import descriptors, note, process_kernel, workers_of
        from eskernel.errors import KernelStopped

        kernel = process_kernel(sys.argv[1]).start()
        kernel.dispatch(note("s0", 0, 0))

        def in_child():
            for call in (
                lambda: kernel.dispatch(note("s0", 1, 0)),
                lambda: kernel.submit(note("s0", 1, 0)),
                lambda: kernel.state_of("ledger", "s0"),
                lambda: kernel.tree(),
                lambda: kernel.start(),
            ):
                try:
                    call()
                except KernelStopped as error:
                    assert "fork" in str(error), error
                else:
                    raise AssertionError("a forked child has used the kernel")
            assert kernel.stop() is True
            links = [os.readlink(f"/proc/self/fd/{fd}") for fd in range(3, 100)
                     if os.path.exists(f"/proc/self/fd/{fd}")]
            assert not any("socket" in link for link in links), links

        def fork():
            child = os.fork()
            if not child:
                status = 1
                with suppress(BaseException):
                    in_child()
                    status = 0
                os._exit(status)
            print(os.waitpid(child, 0)[1])

        before = workers_of()
        thread = threading.Thread(target=fork)
        thread.start()
        thread.join()
        print(kernel.dispatch(note("s0", 0, 1)).sequence, workers_of() == before, kernel.stop())
        """,
        sqlite_url,
    )
    assert out == "0\n2 True True\n"


def test_a_kernel_that_was_not_started_starts_in_each_forked_child(sqlite_url):
    out = run(
        """
        import os, sys
        from process_helpers import note, process_kernel

        kernel = process_kernel(sys.argv[1], workers=1, spares=0)
        for n in range(2):
            if not os.fork():
                with kernel:
                    kernel.dispatch(note("s0", n, 0))
                os._exit(0)
            print(os.wait()[1])
        with kernel:
            print(kernel.dispatch(note("s0", 2, 0)).sequence)
        """,
        sqlite_url,
    )
    assert out == "0\n0\n3\n"


def serve_in_child(url: str, n: int) -> None:
    with process_kernel(url, workers=1, spares=0) as kernel:
        kernel.dispatch(note("s0", n, 0))


def test_children_of_multiprocessing_have_kernels_of_their_own(sqlite_url):
    with process_kernel(sqlite_url, workers=1) as kernel:
        children = []
        for n, method in enumerate(("fork", "spawn", "forkserver")):
            child = multiprocessing.get_context(method).Process(
                target=serve_in_child, args=(sqlite_url, n)
            )
            child.start()
            children.append(child)
        for child in children:
            child.join(60)
        assert [child.exitcode for child in children] == [0, 0, 0]
        kernel.dispatch(note("s0", 3, 0))
    assert sorted(event.payload["by"] for event in stored(sqlite_url)) == [0, 1, 2, 3]


# gunicorn.

APP = """
import os, sys
sys.path[:0] = {paths!r}
from process_helpers import note, process_kernel

kernel = process_kernel({url!r}, workers=1, spares=0)

def app(environ, start_response):
    if {lazily}:
        kernel.start()
    number = int(environ["PATH_INFO"].rpartition("/")[2])
    done = kernel.dispatch(note(f"s{{number % 5}}", 0, number, command_id=f"r-{{number}}"))
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
HOOKS = """
def post_fork(server, worker):
    import service
    if not {lazily}:
        service.kernel.start()

def worker_exit(server, worker):
    import service
    if {stops}:
        service.kernel.stop()
"""


@contextmanager
def gunicorn(folder: Path, url: str, *, lazily: bool, stops: bool):
    """Run a service; yields the process of its master and its port."""
    (folder / "service.py").write_text(APP.format(paths=PATHS, url=url, lazily=lazily))
    (folder / "hooks.py").write_text(HOOKS.format(lazily=lazily, stops=stops))
    (port,) = free_ports(1)
    command = [
        *(sys.executable, "-m", "gunicorn", "service:app", "--config", "hooks.py", "--preload"),
        *("--workers", "2", "--worker-class", "gthread", "--threads", "4"),
        *("--bind", f"127.0.0.1:{port}", "--log-level", "critical"),
        *("--no-control-socket",),
    ]
    master = subprocess.Popen(command, cwd=folder)
    try:
        until_both_answer(port)
        yield master, port
    finally:
        family = (
            psutil.Process(master.pid).children(recursive=True) if master.poll() is None else []
        )
        for process in family:
            process.kill()
        master.kill()
        master.wait()


def answers(port: int, number: int) -> int | None:
    """Return the process that answered a request; None if it failed, and may be done or not."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", f"/{number}")
        response = connection.getresponse()
        return int(response.read()) if response.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def until_both_answer(port: int, *gone: int) -> set[int]:
    """Return the processes that answer requests, as soon as there are two; not those gone."""
    found: set[int | None] = set()
    eventually(lambda: found.add(answers(port, 0)) or len(found - {None, *gone}) == 2, timeout=60)
    return found - {None, *gone}


@pytest.mark.parametrize(("lazily", "stops"), [(False, True), (True, False)])
def test_gunicorn_serves_each_request_once_and_leaves_no_orphan(
    sqlite_url, tmp_path, lazily, stops
):
    def load(index: int) -> None:
        for number in range(1 + index, 81, 4):
            eventually(lambda number=number: answers(port, number), timeout=30)

    with gunicorn(tmp_path, sqlite_url, lazily=lazily, stops=stops) as (master, port):
        run_threads(*(lambda i=index: load(i) for index in range(4)), timeout=60)
        killed = max(until_both_answer(port))
        mine = workers_of(killed)
        os.kill(killed, signal.SIGKILL)
        all_gone(mine)
        # One that is told to end while it starts would be killed by its master, much later.
        until_both_answer(port, killed)
        rest = psutil.Process(master.pid).children(recursive=True)
        master.terminate()
        assert master.wait(30) == 0
        all_gone(rest)
    assert len(mine) == 1
    assert Counter(event.payload["n"] for event in stored(sqlite_url)) == Counter(range(81))


# Odd programs.


def run(source: str, *arguments: str, stderr: str = "", **options) -> str:
    """Return the output of a program, which must end well and leave no worker."""
    process = program(source, *arguments, stderr=subprocess.PIPE, **options)
    workers: list[psutil.Process] = []
    watching = threading.Thread(target=watch, args=(process, workers), daemon=True)
    watching.start()
    out, err = process.communicate(timeout=60)
    watching.join(10)
    assert (process.returncode, err) == (0, stderr), out + err
    all_gone(workers)
    return out


def watch(process, workers: list[psutil.Process]) -> None:
    """Note every worker a process starts, until it ends."""
    while process.poll() is None:
        try:
            workers += [worker for worker in workers_of(process.pid) if worker not in workers]
        except psutil.Error:
            return
        threading.Event().wait(0.02)


def test_an_interpreter_that_exits_without_stopping_leaves_no_worker(sqlite_url):
    out = run(
        """
        import sys
        from process_helpers import note, process_kernel, workers_of

        never = process_kernel(sys.argv[1])
        kernel = process_kernel(sys.argv[1]).start()
        print(kernel.dispatch(note("s0", 0, 0)).sequence)
        futures = [kernel.submit(note("s0", 0, n)) for n in range(1, 100)]
        """,
        sqlite_url,
    )
    assert out == "1\n"


def test_a_kernel_that_is_never_started_is_collected(sqlite_url):
    out = run(
        """
        import gc, sys, weakref
        from process_helpers import process_kernel

        dropped = weakref.ref(process_kernel(sys.argv[1]))
        gc.collect()
        print(dropped())
        """,
        sqlite_url,
    )
    assert out == "None\n"


def test_a_script_without_a_guard_starts_its_workers_and_is_not_run_by_them(sqlite_url, tmp_path):
    script = tmp_path / "service.py"
    script.write_text(
        f"import sys; sys.path[:0] = {PATHS!r}\n"
        "from process_helpers import note, process_kernel\n"
        "print('runs')\n"
        f"kernel = process_kernel({sqlite_url!r}).start()\n"
        "print(kernel.dispatch(note('s0', 0, 0)).sequence, kernel.stop())\n"
    )
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("runs\n1 True\n", "", 0)


def test_a_parent_may_have_no_standard_streams_at_all(sqlite_url, tmp_path):
    out = tmp_path / "out"
    run(
        """
        import os, sys
        for descriptor in range(3):
            os.close(descriptor)
        sys.stdin = sys.stdout = sys.stderr = None
        from pathlib import Path
        from process_helpers import TYPE, process_kernel
        from eskernel import Command

        with process_kernel(sys.argv[1]) as kernel:
            done = [
                kernel.dispatch(Command(TYPE, f"s{n}", "print", "hello")).sequence
                for n in range(8)
            ]
            stopped = kernel.stop()
        Path(sys.argv[2]).write_text(f"{done} {stopped}")
        os._exit(0)
        """,
        sqlite_url,
        str(out),
    )
    assert out.read_text() == f"{[1] * 8} True"


def test_workers_work_where_their_kernel_was_made_and_import_what_it_could(tmp_path):
    made, elsewhere = tmp_path / "made", tmp_path / "elsewhere"
    made.mkdir()
    elsewhere.mkdir()
    trap = "raise SystemExit('the working directory is on the search path')"
    for module in ("json", "random", "eskernel"):
        (made / f"{module}.py").write_text(trap)
    (made / "lib").mkdir()
    (made / "lib" / "local_domain.py").write_text("from process_ledger import *\n")
    out = run(
        """
        import os, signal, sys
        from process_helpers import pid_at, workers_of
        from eskernel import Command
        from eskernel.processes import ProcessKernel

        sys.path[:] = [*filter(None, sys.path), "lib"]
        os.chdir(sys.argv[1])
        kernel = ProcessKernel({"local": "local_domain"}, "sqlite:///bank.db", workers=1)
        os.chdir(sys.argv[2])
        with kernel:
            for n in range(2):
                where = Command("local", "a", "where", command_id=str(n))
                done = kernel.dispatch(where, timeout=20)
                print(done.sequence, done.events[0].payload["by"])
                os.kill(pid_at(kernel, 0), signal.SIGKILL)
        """,
        str(made),
        str(elsewhere),
    )
    lines = [line for line in out.splitlines() if "worker_ended" not in line]
    assert lines == [f"1 {made}", f"2 {made}"]
    assert not list(elsewhere.iterdir())
