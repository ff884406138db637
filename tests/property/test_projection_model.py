"""Projections against the log itself: what is handled is what matches, in order, each once.

Several processes, each a Projector of its own, share a log and the projection's name. Each has its
own clock, so one can be late. They crash, lose their lease and their store, and are rebuilt and
rolled back; after every step what is stored, and what each process shows, is compared with the log.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar

import hypothesis.strategies as st
import pytest
from backends import new_url
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from projection_helpers import (
    HandlerFailed,
    HookedStore,
    Noting,
    NotingTable,
    Unstorable,
    append,
    check_handled,
    matches,
    projector,
    run_to_end,
    stored,
)
from sqlalchemy.exc import IntegrityError

from eskernel.errors import NotStorable, ProjectionBusy, StaleEpoch, StoreUnavailable
from eskernel.projections import commits, lane, pages
from eskernel.projections.audit import audit
from eskernel.projections.projector import Projector
from eskernel.projections.read_model import BUILDING, PREVIOUS
from eskernel.testing import ManualClock
from eskernel.values import SERVING
from eskernel_stores import MemoryStore, open_store
from eskernel_stores.file import FileStore
from eskernel_stores.sql import SqlStore

KEY = "projection/noting"
LEASE = 10_000.0
"""Seconds: no lease runs out while an example runs; `expire` ends it."""
PROCESSES = 3
REFUSALS = (ProjectionBusy, LookupError, StoreUnavailable, StaleEpoch)
GUILTY = (HandlerFailed, NotStorable, IntegrityError)


@pytest.fixture(autouse=True)
def _small_and_predictable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have pages of a few events, whose size and commits depend on no real time."""
    monkeypatch.setattr(pages, "SMALLEST", 2)
    monkeypatch.setattr(pages, "LARGEST", 4)
    for module in (lane, commits):  # a slow commit would put the next one off
        monkeypatch.setattr(module, "perf_counter", lambda: 0.0)


class Crash(BaseException):
    """The end of a process."""


class Fault:
    """Something that goes wrong at one of the next calls to the store.

    Args:
        names: of the calls meant.
        calls: how many of these go well first.
        times: how many fail then, if it is no crash.
        when: "before" or "after" the call.
        how: "crash", or whether the store says that it knows the outcome.
    """

    def __init__(self, names: frozenset[str], calls: int, times: int, when: str, how: str) -> None:
        self._names = names
        self._left = calls
        self._times = times
        self._when = when
        self._how = how

    def __call__(self, name: str, when: str) -> None:
        if when != self._when or name not in self._names:
            return
        self._left -= 1
        if -self._times <= self._left < 0:
            if self._how == "crash":
                raise Crash
            known = self._how == "known" and when == "before"
            raise StoreUnavailable("made to fail", outcome_unknown=not known)


READS = frozenset({"fold_all", "load_checkpoint", "last_position", "begin"})
WRITES = frozenset({"save_checkpoints", "save in transaction", "commit"})
LEASES = frozenset({"acquire_lease", "release_lease"})
FAULTS = st.none() | st.builds(
    Fault,
    st.sampled_from([READS, WRITES, WRITES, WRITES | READS, LEASES]),
    st.integers(0, 3),
    st.integers(1, 3),
    st.sampled_from(["before", "after"]),
    st.sampled_from(["crash", "known", "unknown", "unknown"]),
)


class Process:
    """A Projector, its clock, and the way its store goes wrong."""

    _owners = itertools.count(1)

    def __init__(self, module: Any, store: Any, options: dict[str, Any]) -> None:
        self.fault: Callable[[str, str], None] | None = None
        self.clock = ManualClock()
        self.owner = f"owner {next(self._owners)}"
        self._options = options
        self.start(module, store)

    def start(self, module: Any, store: Any) -> None:
        hooked = HookedStore(store, self._point)
        self.projector = projector(
            *(module, hooked), owner=self.owner, clock=self.clock, seed=0, **self._options
        )
        self.proved: tuple[int, int] | None = None

    def _point(self, name: str, when: str) -> None:
        if self.fault is not None:
            self.fault(name, when)


Events = st.lists(
    st.tuples(
        st.sampled_from(["noted", "noted", "noted", "other"]),
        st.sampled_from([0, 0, 0, 0, 1, 2, 9]),
        st.sampled_from([0, 0, 0, 0, 0, 0, 1, 9]),
    ),
    min_size=1,
    max_size=5,
)
WHO = st.sampled_from([0, 0, 0, 1, 2])
SECONDS = st.sampled_from([0.5, 0.5, 0.01, 0.0, LEASE])


class ProjectionModel(RuleBasedStateMachine):
    """One projection in several processes."""

    make_module: ClassVar[Callable[[], Noting]]
    open_store: ClassVar[Callable[[int], Any]]
    """Opens the store of an example again and again."""
    reopens: ClassVar[bool]
    _examples = itertools.count(1)

    def __init__(self) -> None:
        super().__init__()
        self.example = next(self._examples)
        self.store = self.open_store(self.example)
        self.module = self.make_module()
        self.due: list[int] = []
        self.retried: set[int] = set()
        self.seen: Any = None
        self.may_go_back = False
        self.taken_back = 0
        self.crash_in = 0
        self.module.before = self._in_handler

    @initialize(
        on_failure=st.sampled_from(["park", "stop"]),
        checkpoint_events=st.sampled_from([1, 3, 1000]),
        checkpoint_seconds=st.sampled_from([0.001, 1.0]),
        retries=st.sampled_from([0, 1]),
    )
    def begin(self, **options: Any) -> None:
        self.options = {**options, "parked_limit": 3, "first_retry": 0.01, "lease_seconds": LEASE}
        self.processes = [Process(self.module, self.store, self.options) for _ in range(PROCESSES)]
        self.owners = [one.owner for one in self.processes]

    def _in_handler(self, _event: Any) -> None:
        self.crash_in -= 1
        if self.crash_in == 0:
            raise Crash

    def _do(self, who: int, fault: Any, action: Callable[[Projector], Any]) -> Any:
        """Have a process do something; one that crashes is started again."""
        process = self.processes[who]
        process.fault = fault
        try:
            return action(process.projector)
        except Crash:
            process.fault = None
            self._restart(process)
        except REFUSALS as error:
            return error
        finally:
            process.fault = None
            self.crash_in = 0
        return None

    def _restart(self, process: Process) -> None:
        process.projector.close()
        process.start(self.module, self.store)

    # What happens to the log.

    @rule(
        kind=st.sampled_from(["a", "a", "b", "c"]), name=st.sampled_from(["x", "y"]), events=Events
    )
    def append(self, kind: str, name: str, events: list[tuple[str, int, int]]) -> None:
        made = append(self.store, (kind, name), len(events), [one[0] for one in events])
        assert len(made) == len(events)
        self.due += [event.position for event in made if matches(event)]
        for event, (_, failing, spoiling) in zip(made, events, strict=True):
            self.module.failing[event.payload["n"]] = failing
            self.module.spoiling[event.payload["n"]] = spoiling

    @rule(which=st.integers(0, 100), times=st.sampled_from([0, 1, 9]), spoils=st.booleans())
    def poison(self, which: int, times: int, spoils: bool) -> None:
        """Have an event that went well fail, for who handles it again."""
        numbers = sorted(self.module.failing)
        if numbers:
            told = self.module.spoiling if spoils else self.module.failing
            told[numbers[which % len(numbers)]] = times

    # What happens to processes.

    @rule(
        who=WHO,
        times=st.integers(1, 8),
        seconds=SECONDS,
        fault=FAULTS,
        crash_in=st.sampled_from([0, 0, 0, 1, 2, 3]),
    )
    def step(self, who: int, times: int, seconds: float, fault: Any, crash_in: int) -> None:
        self.crash_in = crash_in
        self._step(who, times, seconds, fault)

    def _step(self, who: int, times: int, seconds: float, fault: Any) -> None:
        def steps(projector: Projector) -> None:
            for _ in range(times):
                self.processes[who].clock.advance(seconds)
                projector.step()

        self._do(who, fault, steps)

    @rule(who=WHO, times=st.integers(1, 8), fault=FAULTS)
    def step_on(self, who: int, times: int, fault: Any) -> None:
        self._step(who, times, 0.5, fault)

    @rule(who=WHO, same_owner=st.booleans(), release=st.booleans(), fault=FAULTS)
    def restart(self, who: int, same_owner: bool, release: bool, fault: Any) -> None:
        process = self.processes[who]
        if release:
            self._do(who, fault, lambda projector: projector.release())
        if not same_owner:
            process.owner = f"owner {next(Process._owners)}"
            self.owners.append(process.owner)
        self._restart(process)

    @rule(who=WHO, steps=st.booleans())
    def take_over(self, who: int, steps: bool) -> None:
        """Have the lease run out, and somebody take it; nobody else hears of it."""
        for owner in self.owners:
            self.store.release_lease(KEY, owner)
        process = self.processes[who]
        process.clock.advance(LEASE)
        if steps:
            self._do(who, None, lambda projector: projector.step())

    @rule()
    def reopen(self) -> None:
        """Have the machine crash: all processes are gone, and the store is opened again."""
        if not self.reopens:
            return
        for process in self.processes:
            process.projector.close()
        self.store.close()
        self.store = self.open_store(self.example)
        for process in self.processes:
            process.start(self.module, self.store)

    # What is asked of projections.

    @rule(
        who=WHO,
        fault=FAULTS,
        what=st.sampled_from(
            ["rebuild", "rebuild", "rollback", "rollback", "cancel_rebuild", "resume"]
        ),
    )
    def ask(self, who: int, fault: Any, what: str) -> None:
        if what == "rollback":
            self.may_go_back = True
            self.taken_back = self.store.last_position()
        self._do(who, fault, lambda projector: getattr(projector, what)())

    @rule(who=WHO, fault=FAULTS, which=st.integers(0, 2), discard=st.booleans())
    def settle_parked(self, who: int, fault: Any, which: int, discard: bool) -> None:
        def settle(projector: Projector) -> None:
            parked = projector.progress.parked
            if parked:
                position = parked[which % len(parked)].position
                self.retried.add(position)
                with suppress(*GUILTY):
                    (projector.discard_parked if discard else projector.retry_parked)(position)

        self._do(who, fault, settle)

    @rule(who=WHO, full=st.booleans(), notes=st.booleans(), fault=FAULTS)
    def audit(self, who: int, full: bool, notes: bool, fault: Any) -> None:
        """Audit, and note what was proved: now, or what was proved the last time."""
        process = self.processes[who]
        before, progress = process.proved, process.projector.progress
        found = audit(process.projector._definition, self.store, progress, full=full)
        assert found.complete, found
        process.proved = (found.proved + 1, progress.generation)
        proved = process.proved if notes else before
        if proved is not None:
            self._do(who, fault, lambda projector: projector.note_proved(*proved))

    # What must be true at any time.

    @invariant()
    def all_is_right(self) -> None:
        self._check_stored()
        self._check_direction()  # notes what is stored
        self._check_shown()

    def _check_stored(self) -> None:
        for slot in (SERVING, BUILDING, PREVIOUS):
            found = stored(self.module, self.store, slot)
            if found is not None:
                check_handled(*found, self.due, frozenset(self.retried))

    def _check_direction(self) -> None:
        found = stored(self.module, self.store, SERVING)
        if found is not None and self.seen is not None:
            (positions, progress), (before, earlier) = found, self.seen
            if not self.may_go_back:
                assert progress.position >= earlier.position, "it went back"
                assert progress.generation >= earlier.generation, "it forgot a generation"
            if progress.generation == earlier.generation:
                assert positions[: len(before)] == before, "what was handled has changed"
        assert found is not None or self.seen is None, "the checkpoint is gone"
        self.seen, self.may_go_back = found, False

    def _check_shown(self) -> None:
        for process in getattr(self, "processes", ()):
            if isinstance(self.module, NotingTable):
                self._check_promise(process.projector)
            else:
                self._check_memory(process.projector)

    def _check_memory(self, one: Projector) -> None:
        """Check a state that could be read without another step."""
        if not one._loaded or one._behind():
            return
        positions = one.read(lambda state: [x for x in state if not isinstance(x, Unstorable)])
        check_handled(positions, one.progress, self.due, frozenset(self.retried))
        assert one.progress.position >= one.view.position or one._serving.stopped

    def _check_promise(self, one: Projector) -> None:
        """Check that what is promised to be visible is, but for what a rollback took back."""
        if one.view.position <= self.taken_back or self.seen is None:
            return
        positions, progress = self.seen
        aside = {*(parked.position for parked in progress.parked), *progress.discarded}
        promised = {x for x in self.due if x <= one.view.position} - aside
        assert promised <= set(positions), "it is not there yet"

    # The end.

    def teardown(self) -> None:
        if hasattr(self, "processes"):
            self.come_to_the_end()
        self.store.close()

    def come_to_the_end(self) -> None:
        """Without any more trouble every process gets to the end, and all is handled."""
        self.module.failing.clear()
        self.module.spoiling.clear()
        for owner in self.owners:
            self.store.release_lease(KEY, owner)
        self.append("a", "x", [("noted", 0, 0), ("noted", 0, 0)])  # one of them matches
        for process in self.processes:
            process.clock.advance(LEASE)
            process.projector.resume()
            run_to_end(process.projector, self.store, process.clock)
            process.clock.advance(self.options["checkpoint_seconds"])
            process.projector.step()  # stores how far it has come, for those who follow
        active = [one.projector for one in self.processes if one.projector.active]
        assert len(active) >= 1
        for aside in active[0].progress.parked:
            self.retried.add(aside.position)
            active[0].retry_parked(aside.position)
        active[0].release()
        positions, progress = stored(self.module, self.store, SERVING)
        assert progress.position == self.store.last_position()
        check_handled(positions, progress, self.due, frozenset(self.retried))
        assert sorted([*positions, *progress.discarded]) == self.due
        assert audit(active[0]._definition, self.store, progress, full=True).complete


def prove(
    make_module: Callable[[], Noting],
    open_store: Callable[[int], Any],
    *,
    examples: int,
    reopens: bool = True,
    shrinks: bool = False,
) -> None:
    """Run the model; a failure prints what reproduces it."""
    names = {
        "make_module": staticmethod(make_module),
        "open_store": staticmethod(open_store),
        "reopens": reopens,
    }
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        type("Model", (ProjectionModel,), names),
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            print_blob=True,
            report_multiple_bugs=False,
            phases=[phase for phase in Phase if shrinks or phase is not Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_a_state_is_right_at_any_time_in_memory() -> None:
    prove(Noting, lambda _: MemoryStore(), examples=200, reopens=False, shrinks=True)


def test_a_state_is_right_at_any_time_in_files(tmp_path: Any) -> None:
    prove(Noting, lambda example: FileStore(tmp_path / str(example)), examples=20)


@pytest.mark.parametrize("make_module", [Noting, NotingTable])
def test_a_state_and_tables_are_right_at_any_time_in_sqlite(
    make_module: Any, tmp_path: Any
) -> None:
    def open_store(example: int) -> SqlStore:
        return SqlStore(f"sqlite:///{tmp_path}/{example}.db", synchronous="OFF")

    prove(make_module, open_store, examples=30)


@pytest.mark.parametrize(
    ("make_module", "backend"),
    [
        (Noting, "postgresql"),
        (NotingTable, "postgresql"),
        (Noting, "jetstream"),
        (Noting, "mongo"),
    ],
)
def test_a_state_and_tables_are_right_at_any_time_in_a_server(
    make_module: Any, backend: str, tmp_path: Any, request: pytest.FixtureRequest
) -> None:
    urls: dict[int, str] = {}

    def opened(example: int) -> Any:
        if example not in urls:
            urls[example] = new_url(backend, tmp_path, request)
        return open_store(urls[example])

    prove(make_module, opened, examples=8)
