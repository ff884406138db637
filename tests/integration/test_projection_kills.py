"""A process killed before or after every call a projection makes to its store.

A helper, in an interpreter of its own, forks a process for each call; that one works on until the
call comes and ends there at once, as with SIGKILL. What it leaves must be right as it stands, and
whoever goes on from there must come to the exact end.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from backends import new_url
from projection_helpers import (
    HookedStore,
    Noting,
    NotingTable,
    append_mixed,
    check_handled,
    log,
    matching,
    projector,
    run_to_end,
    stored,
)
from store_helpers import run_program

from eskernel.projections.audit import audit
from eskernel.projections.projector import Projector
from eskernel.projections.read_model import BUILDING, PREVIOUS
from eskernel.values import SERVING
from eskernel_stores import open_store
from eskernel_stores.sql import SqlStore

KILLED = 9
OPTIONS: dict[str, Any] = {"checkpoint_events": 5, "checkpoint_seconds": 0.001, "first_retry": 1e-4}
EVENTS = 6
"""Rounds of `append_mixed` that are there before the killed process starts."""


def follow(one: Projector, store: Any) -> None:
    """Handle what is there."""
    run_to_end(one, store)
    one.release()


def build_and_go_back(one: Projector, store: Any) -> None:
    """Build again what is there, switch, go back to what served before, and catch up."""
    run_to_end(one, store)
    one.rebuild()
    run_to_end(one, store)
    one.rollback()
    run_to_end(one, store)
    one.release()


def settle(one: Projector, store: Any) -> None:
    """Park two events; handle one of them later, and give the other up."""
    run_to_end(one, store)
    first, second = one.progress.parked
    one.retry_parked(first.position)
    one.discard_parked(second.position)
    found = audit(one._definition, store, one.progress)
    assert found.complete
    assert one.note_proved(found.proved + 1, one.progress.generation)
    one.release()


SCENARIOS: dict[str, Callable[[Projector, Any], None]] = {
    one.__name__: one for one in (follow, build_and_go_back, settle)
}


def die_at(call: int) -> Callable[[str, str], None]:
    """Return a hook that ends the process at the so many-th point it passes."""
    passed = 0

    def point(_name: str, _when: str) -> None:
        nonlocal passed
        passed += 1
        if passed == call:
            os._exit(KILLED)

    return point


def make(module: Any, store: Any, scenario: str, name: str) -> Projector:
    """Return a projector for a scenario."""
    options = OPTIONS | ({"on_failure": "park", "retries": 0} if scenario == "settle" else {})
    return projector(module, store, name=name, owner=str(os.getpid()), **options)


def module_for(kind: str, scenario: str, name: str, store: Any) -> Noting:
    module = NotingTable(name) if kind == "table" else Noting()
    if scenario == "settle":
        numbers = [event.payload["n"] for event in log(store)]
        module.failing = {numbers[1]: 1, numbers[9]: 1}
    return module


def opened(url: str) -> Any:
    """Open a store; SQLite does not wait for the disk, as no power is cut here."""
    if url.startswith("sqlite:"):
        return SqlStore(url, synchronous="OFF")
    return open_store(url)


def work(url: str, kind: str, scenario: str, call: int, name: str) -> None:
    """Be the process that is killed."""
    with closing(opened(url)) as store:
        module = module_for(kind, scenario, name, store)
        hooked = HookedStore(store, die_at(call))
        SCENARIOS[scenario](make(module, hooked, scenario, name), store)


def forked(function: Callable[..., None], *arguments: Any) -> tuple[int, str]:
    """Run a function in a process of its own; return how that ended, and its id."""
    child = os.fork()
    if not child:
        try:
            function(*arguments)
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), str(child)


def check_what_is_left(url: str, kind: str, scenario: str, name: str, owner: str) -> None:
    """Check what a killed process has left, go on from there, and check the end."""
    store = opened(url)
    due = matching(store)
    module = module_for(kind, scenario, name, store)
    module.failing = {}
    late = frozenset(due[:10]) if scenario == "settle" else frozenset()
    for slot in (SERVING, BUILDING, PREVIOUS):
        if (found := stored(module, store, slot, name=name)) is not None:
            check_handled(*found, due, late)
    one = make(module, store, scenario, name)
    store.release_lease(one.key, owner)  # or it had to be waited for
    run_to_end(one, store)
    for aside in one.progress.parked:
        one.retry_parked(aside.position)
    one.release()
    positions, progress = stored(module, store, SERVING, name=name)
    check_handled(positions, progress, due, late)
    assert sorted([*positions, *progress.discarded]) == due
    assert audit(one._definition, store, progress, full=True).complete
    store.close()


def kill_in_sqlite(folder: str, kind: str, scenario: str) -> None:
    """Kill at each call, each time in a copy of the same database."""
    template = Path(folder) / "template.db"
    store = opened(f"sqlite:///{template}")
    append_mixed(store, EVENTS)
    store.close()
    call, status = 0, KILLED
    while status:
        call += 1
        path = shutil.copy(template, Path(folder) / "events.db")
        url = f"sqlite:///{path}"
        status, owner = forked(work, url, kind, scenario, call, "noting")
        assert status in (0, KILLED), f"at call {call} it ended with {status}"
        check_what_is_left(url, kind, scenario, "noting", owner)
        for file in Path(folder).glob("events.db*"):
            file.unlink()
    os.write(1, f"{call}\n".encode())


def kill_in_server(url: str, kind: str, scenario: str, step: int) -> None:
    """Kill at some of the calls, each time a projection of another name."""
    store = opened(url)
    append_mixed(store, EVENTS)
    store.close()
    call, status = 1, KILLED
    while status:
        name = f"noting_{call}"
        status, owner = forked(work, url, kind, scenario, call, name)
        assert status in (0, KILLED), f"at call {call} it ended with {status}"
        check_what_is_left(url, kind, scenario, name, owner)
        call += step
    os.write(1, f"{call}\n".encode())


def killed(function: Callable[..., None], *arguments: Any) -> int:
    """Run one of these functions in an interpreter of its own; return at how many calls it was."""
    folder = str(Path(__file__).parent)
    source = f"""
        sys.path.insert(0, {folder!r})
        import test_projection_kills as kills
        kills.{function.__name__}(*{arguments!r})
    """
    return int(run_program(source, timeout=100)[-1])


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("kind", ["state", "table"])
def test_a_process_killed_at_any_call_to_sqlite_leaves_what_is_right(
    tmp_path: Path, kind: str, scenario: str
) -> None:
    assert killed(kill_in_sqlite, str(tmp_path), kind, scenario) > 10


@pytest.mark.parametrize(
    ("scenario", "step"), [("follow", 5), ("build_and_go_back", 11), ("settle", 9)]
)
@pytest.mark.parametrize("kind", ["state", "table"])
def test_a_process_killed_at_calls_to_postgresql_leaves_what_is_right(
    postgresql_url: str, kind: str, scenario: str, step: int
) -> None:
    assert killed(kill_in_server, postgresql_url, kind, scenario, step) > 10


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("backend", ["jetstream", "mongo"])
def test_a_process_killed_at_calls_to_a_server_leaves_what_is_right(
    backend: str, tmp_path: Path, request: pytest.FixtureRequest, scenario: str
) -> None:
    url = new_url(backend, tmp_path, request)
    assert killed(kill_in_server, url, "state", scenario, 13) > 10
