"""Projections of a busy kernel whose actors are killed again and again: each event counts once."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from killing import WAYS, quiet_log
from pykka import ActorRef
from stress_helpers import TYPE, DeferredStore, Ledger, note
from support import eventually, new_seed

from eskernel import Event, Kernel, Projection
from eskernel.errors import ProjectionBusy
from eskernel_stores import MemoryStore

__all__ = ["quiet_log"]

pytestmark = [pytest.mark.stress, pytest.mark.usefixtures("quiet_log")]

THREADS = 8
SECONDS = 6.0
# Fewer than a kernel survives in 10 seconds.
KILLS_OF_CHILDREN, KILLS_OF_SUPERVISOR = 40, 3
STREAMS = ("a", "b", "c")
NAMES = ("plain", "poisoned", "rebuilt")


class Noting:
    """A projection that notes positions, in order, and whose events it has seen.

    Args:
        poison: every so many-th event of a thread always fails; 0 for none.
    """

    version = "1"
    aggregate_types = frozenset({TYPE})

    def __init__(self, poison: int = 0) -> None:
        self._poison = poison

    def init(self) -> dict[str, Any]:
        return {"positions": [], "newest": {}}

    def is_poison(self, event: Event) -> bool:
        return bool(self._poison) and event.payload["n"] % self._poison == 0

    def handle_event(self, event: Event, state: dict[str, Any]) -> dict[str, Any]:
        by, n = event.payload["by"], event.payload["n"]
        state["positions"].append(event.position)
        state["newest"][by] = max(state["newest"].get(by, 0), n)
        if self.is_poison(event):
            raise ZeroDivisionError(f"poison at {event.position}")
        return state


class Dispatchers:
    """Threads that dispatch, wait for projections, and look for their own events there."""

    def __init__(self, kernel: Kernel, seed: int) -> None:
        self._kernel = kernel
        self._seed = seed
        self.over = threading.Event()
        self.errors: Counter[str] = Counter()
        self.accepted = 0
        self._threads = [
            threading.Thread(target=self._work, args=(by,), daemon=True) for by in range(THREADS)
        ]

    def __enter__(self) -> Dispatchers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in self._threads), "a call hangs"

    def _work(self, by: int) -> None:
        rng = random.Random(f"{self._seed} {by}")
        n = 0
        while not self.over.is_set():
            n += 1
            names = tuple(rng.sample(NAMES, rng.randrange(3)))
            try:
                command = note(rng.choice(STREAMS), by, n)
                done = self._kernel.dispatch(command, timeout=20, wait_for=names)
                self.accepted += 1
                for name in names:
                    self._look(name, by, n, done.position)
            except BaseException as error:
                self.errors[repr(error)] += 1
            time.sleep(rng.random() * 0.01)

    def _look(self, name: str, by: int, n: int, position: Any) -> None:
        """Check that what was dispatched is seen, or that it is known why not."""
        projection = self._kernel.projection(name)
        seen = projection.read(lambda state: state["newest"].get(by, 0), timeout=20)
        if seen < n:
            parked = {one.position for one in projection.parked}
            assert position in parked, f"{name} has seen {seen} of {by}, not its {n}"


def find(kernel: Kernel, name: str) -> ActorRef[Any] | None:
    """Return an actor of the read side; None while it is down."""
    nodes = [kernel.tree()]
    while nodes:
        node = nodes.pop()
        if node.name == name:
            return node.ref
        nodes += node.children
    return None


def kill_at_random(kernel: Kernel, rng: random.Random, over: float) -> int:
    """Kill actors of the read side, one after another; return how many."""
    killed = 0
    children, supervisors = KILLS_OF_CHILDREN, KILLS_OF_SUPERVISOR
    while time.monotonic() < over:
        time.sleep(rng.random() * SECONDS / KILLS_OF_CHILDREN)
        name = f"projection/{rng.choice(NAMES)}"
        if supervisors and rng.random() < 0.1:
            name, supervisors = "projection-supervisor", supervisors - 1
        elif not children:
            continue
        children -= 1
        ref = find(kernel, name)
        if ref is not None:
            killed += 1
            rng.choice(WAYS)(ref)
    return killed


def rebuild_at_random(kernel: Kernel, rng: random.Random, over: float) -> Iterator[int]:
    """Rebuild one of the projections again and again; yield for each rebuild begun."""
    while time.monotonic() < over:
        try:
            kernel.projection("rebuilt").rebuild()
            yield 1
        except ProjectionBusy:  # it is being rebuilt, or its actor has just been killed
            time.sleep(rng.random() * 0.02)


@pytest.mark.parametrize("make_store", [MemoryStore, DeferredStore])
def test_projections_of_a_busy_kernel_survive_kills_without_losing_or_doubling_an_event(
    make_store: Any,
) -> None:
    seed = new_seed()
    rng = random.Random(seed)
    store = make_store()
    poisoned = Noting(poison=7)
    options: dict[str, Any] = {"checkpoint_seconds": 0.05, "checkpoint_events": 50}
    projections = {
        "plain": Projection(Noting(), **options),
        "poisoned": Projection(
            poisoned, on_failure="park", retries=1, first_retry=0.001, parked_limit=10**6, **options
        ),
        "rebuilt": Projection(Noting(), **options),
    }
    with Kernel({TYPE: Ledger()}, store, projections=projections) as kernel:
        rebuilds: list[int] = []
        over = time.monotonic() + SECONDS
        with Dispatchers(kernel, seed) as dispatchers:
            rebuilder = threading.Thread(
                target=lambda: rebuilds.extend(
                    rebuild_at_random(kernel, random.Random(seed), over)
                ),
                daemon=True,
            )
            rebuilder.start()
            killed = kill_at_random(kernel, rng, over)
            rebuilder.join(30)
        assert dispatchers.errors == {}
        assert dispatchers.accepted > 20 * THREADS
        assert len(rebuilds) >= 3
        assert killed >= 10
        check(kernel, store, poisoned)


def check(kernel: Kernel, store: MemoryStore, poisoned: Noting) -> None:
    """Check that each projection comes to the end, and has handled each event once, in order."""
    events = store.fold_all(lambda found, event: [*found, event], [])[0]
    everything = [event.position for event in events]
    poison = [event.position for event in events if poisoned.is_poison(event)]
    for name in NAMES:
        projection = kernel.projection(name)
        projection.wait_for(store.last_position(), 20)
        eventually(lambda projection=projection: projection.rebuilding is None, timeout=20)
        parked = [one.position for one in projection.parked]
        assert sorted(parked) == (poison if name == "poisoned" else [])
        assert projection.state["positions"] == [p for p in everything if p not in set(parked)]
        found = kernel.audit(name, full=True)
        assert found.complete, found
        assert found.position == store.last_position()
