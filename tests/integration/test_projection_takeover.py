"""One process takes a projection over from another that is paused, or dead."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import pytest
from backends import new_url
from projection_helpers import (
    Noting,
    NotingTable,
    append,
    append_mixed,
    check_handled,
    matching,
    projector,
    run_to_end,
    stored,
)
from sql_rows import rows
from store_helpers import start_program
from support import eventually

from eskernel.projections.audit import audit
from eskernel.projections.read_model import BUILDING, PREVIOUS
from eskernel.values import SERVING
from eskernel_stores import open_store

KEY = "projection/noting"

LEASE = 0.5
"""Seconds of the lease of a process that will be paused or killed."""
MARGIN = 5.0
"""Seconds a takeover may last beside: the machine is shared, and there is a poll interval."""
MODULES = {"state": Noting, "table": NotingTable}

# Works on, and stops itself, as with SIGSTOP, at a given point of the work; afterwards it goes on
# until it has heard that another holds the lease.
_PAUSED = """
import signal
from eskernel_stores import open_store
from projection_helpers import *
passed = 0
def point(name, when):
    global passed
    passed += (name, when) == ({name!r}, {when!r})
    if passed == 3:
        passed += 1
        say("stopping")
        os.kill(os.getpid(), signal.SIGSTOP)
        say("woken")

store = HookedStore(open_store({url!r}), point)
one = projector(
    {module}(), store, owner="paused", lease_seconds={lease}, checkpoint_events=1,
    first_retry=0.001, longest_retry=0.01,
)
while one.lease.holder in ("", "paused"):
    one.step()
for _ in range(20):
    one.step()
say(one.view.position)
sys.stdin.read()
os._exit(0)
"""


@pytest.fixture
def opened() -> Iterator[Callable[[str], Any]]:
    """Opens stores, which are closed after the test."""
    with ExitStack() as stores:

        def opened(url: str) -> Any:
            return stores.enter_context(closing(open_store(url)))

        yield opened


@contextmanager
def running(source: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program, and kill it at the end."""
    with start_program(source) as program:
        try:
            yield program
        finally:
            program.kill()
            program.communicate()


def line_of(program: subprocess.Popen[str]) -> str:
    assert program.stdout is not None
    line = program.stdout.readline().strip()
    assert line, program.communicate()[1]
    return line


def is_stopped(pid: int) -> bool:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] == "T"


@pytest.mark.parametrize(
    ("backend", "kind", "point"),
    [
        ("sqlite", "state", ("save_checkpoints", "before")),
        ("sqlite", "table", ("fold_all", "after")),
        ("postgresql", "state", ("save_checkpoints", "before")),
        ("postgresql", "table", ("fold_all", "after")),
        ("postgresql", "table", ("begin", "after")),
        ("postgresql", "table", ("commit", "before")),
        ("jetstream", "state", ("save_checkpoints", "before")),
        ("mongo", "state", ("save_checkpoints", "before")),
    ],
)
def test_a_paused_process_that_wakes_after_a_takeover_writes_nothing(
    tmp_path: Any, request: Any, opened: Any, backend: str, kind: str, point: tuple[str, str]
) -> None:
    url = new_url(backend, tmp_path / "events", request)
    store, module = opened(url), MODULES[kind]()
    append_mixed(store, 60)
    source = _PAUSED.format(
        url=url, module=type(module).__name__, lease=LEASE, name=point[0], when=point[1]
    )
    with running(source) as paused:
        assert line_of(paused) == "stopping"
        eventually(lambda: is_stopped(paused.pid))
        one = projector(module, store, lease_seconds=60.0)
        eventually(lambda: bool(one.step() or True) and one.active, timeout=LEASE + MARGIN)
        run_to_end(one, store)
        append_mixed(store, 5)
        run_to_end(one, store)
        one._commit_all(one.lease.epoch or 0)
        before = everything(module, store)
        os.kill(paused.pid, signal.SIGCONT)
        assert line_of(paused) == "woken"
        assert int(line_of(paused)) == store.last_position()
        assert everything(module, store) == before
    positions, progress = stored(module, store, SERVING)
    check_handled(positions, progress, matching(store))
    assert positions == matching(store)
    assert audit(one._definition, store, progress).complete


def everything(module: Any, store: Any) -> Any:
    """Return all that a projection has in the store."""
    slots = [store.load_checkpoint(KEY, slot) for slot in (SERVING, BUILDING, PREVIOUS)]
    owner, epoch, _ = store.acquire_lease(KEY, "a visitor", 0)
    return slots, (owner, epoch), stored(module, store, SERVING)


_KERNEL = """
from projection_helpers import *
from domains import bank_account
from eskernel import Kernel

store = open_store({url!r})
chosen = Projection({module}(), lease_seconds={lease}, checkpoint_seconds=0.05)
with Kernel({{"bank_account": bank_account}}, store, projections={{"noting": chosen}}) as kernel:
    kernel.projection("noting").wait_for(1, 20)
    say("running")
    sys.stdin.read()
"""


@pytest.mark.parametrize("kind", MODULES)
def test_another_kernel_takes_over_when_one_is_killed_under_load(
    postgresql_url: str, opened: Any, kind: str
) -> None:
    store, module = opened(postgresql_url), MODULES[kind]()
    append(store, ("a", "first"), 3)
    source = _KERNEL.format(url=postgresql_url, module=type(module).__name__, lease=LEASE)
    with running(source) as one, running(source) as other:
        programs = {program.pid: program for program in (one, other)}
        assert {line_of(program) for program in programs.values()} == {"running"}
        load(store, lambda: reached(module, store) > 20)
        killed = active(store, programs)
        programs[killed].kill()
        at, when = store.last_position(), time.monotonic()
        load(store, lambda: reached(module, store) > at)
        assert time.monotonic() - when < LEASE + MARGIN
        assert active(store, programs) != killed
        eventually(lambda: reached(module, store) == store.last_position())
    positions, progress = stored(module, store, SERVING)
    assert positions == matching(store)
    check_handled(positions, progress, matching(store))


def load(store: Any, until: Callable[[], bool]) -> None:
    """Append events until something is true."""

    def more() -> bool:
        append_mixed(store, 2)
        return until()

    eventually(more, timeout=20)


def reached(module: Any, store: Any) -> int:
    found = store.load_checkpoint(KEY)
    return found.position if found else 0


def active(store: Any, pids: Iterable[int]) -> int:
    """Return which of some processes holds the lease."""
    ((owner,),) = rows(store, "SELECT owner FROM eskernel_leases")
    return next(pid for pid in pids if f"/{pid}/" in owner)
