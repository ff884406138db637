"""What the tests of projections share: a module that misbehaves, and a store that can be down."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from eskernel.errors import StoreUnavailable
from eskernel.projections import Projection
from eskernel.projections.consumer import Consumer
from eskernel.projections.definition import Definition
from eskernel.projections.lane import Lane
from eskernel.projections.projector import Projector
from eskernel.projections.state_model import StateModel
from eskernel.projections.view import View
from eskernel.testing import ManualClock
from eskernel.values import SERVING, Event
from eskernel_stores import MemoryStore

STREAM = ("thing", "a")
KEY = "projection/sums"
EXPIRED = 1e-6  # seconds; a lease that others may take over at once


def append(store: Any, *numbers: Any, type: str = "added", stream_id: Any = STREAM) -> int:
    """Append an event for each number, and return the position of the last."""
    before = store.fold(stream_id, lambda count, _: count + 1, 0)
    events = [Event(stream_id, n, type, {"n": one}) for n, one in enumerate(numbers, before + 1)]
    return int(store.append(stream_id, events, expected_sequence=before))


class Sums:
    """A projection that adds numbers and notes positions; `hook(event, state)` runs after that.

    Args:
        attributes: what it has beside, such as `version` or `event_filter`.
    """

    version = "1"

    def __init__(self, **attributes: Any) -> None:
        self.calls: list[int] = []
        self.hook: Callable[[Event, Any], Any] = lambda *_: None
        for name, value in attributes.items():
            setattr(self, name, value)

    def init(self) -> dict[str, Any]:
        return {"sum": 0, "seen": []}

    def handle_event(self, event: Event, state: dict[str, Any]) -> Any:
        assert event.position is not None
        self.calls.append(event.position)
        state["sum"] += event.payload["n"]
        state["seen"].append(event.position)
        self.hook(event, state)
        return state


def fails_at(*positions: int) -> Callable[[Event, Any], None]:
    """Return a hook that raises at some positions, after the state was changed in place."""

    def fail(event: Event, _state: Any) -> None:
        if event.position in positions:
            raise ZeroDivisionError(f"at {event.position}")

    return fail


def spoils_at(*positions: int) -> Callable[[Event, Any], None]:
    """Return a hook that puts at some positions into the state what cannot be stored."""

    def spoil(event: Event, state: Any) -> None:
        if event.position in positions:
            state["spoiled"] = object()

    return spoil


class ProbedStore(MemoryStore):
    """A MemoryStore that counts, and fails when told to.

    Attributes:
        before: by method, what is called before the method does anything; may raise.
        after: by method, what is called when it is done; may raise.
        looks: the ranges that were read of the log.
        handed: positions handed to those who read the log.
        saves: the slots of each save, in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.before: dict[str, Callable[[], Any]] = {}
        self.after: dict[str, Callable[[], Any]] = {}
        self.looks: list[Any] = []
        self.handed: list[int] = []
        self.saves: list[Any] = []

    def _around(self, method: str, *arguments: Any, **options: Any) -> Any:
        self.before.get(method, lambda: None)()
        found = getattr(super(), method)(*arguments, **options)
        self.after.get(method, lambda: None)()
        return found

    def fold_all(self, function: Any, initial: Any, *arguments: Any, **options: Any) -> Any:
        self.looks.append(arguments[0] if arguments else None)

        def counting(accumulator: Any, event: Event) -> Any:
            assert event.position is not None
            self.handed.append(event.position)
            return function(accumulator, event)

        return self._around("fold_all", counting, initial, *arguments, **options)

    def save_checkpoints(self, name: str, epoch: int, slots: Any) -> None:
        self._around("save_checkpoints", name, epoch, slots)
        self.saves.append(dict(slots))

    def load_checkpoint(self, name: str, slot: str = SERVING) -> Any:
        return self._around("load_checkpoint", name, slot)

    def acquire_lease(self, name: str, owner: str, seconds: float) -> Any:
        return self._around("acquire_lease", name, owner, seconds)

    def release_lease(self, name: str, owner: str) -> None:
        self._around("release_lease", name, owner)


def unavailable() -> None:
    """Fail, as a store that is down."""
    raise StoreUnavailable("made to fail")


def once(function: Callable[[], Any]) -> Callable[[], Any]:
    """Return a function that does that the first time only."""
    left = [function]

    def call() -> None:
        if left:
            left.pop()()

    return call


class LaneRig:
    """A lane over a store, with time that stands still.

    Args:
        store: log and checkpoints.
        module: the projection.
        model: None for its state.
        options: of the projection.
    """

    epoch: int | None = 1

    def __init__(self, store: Any, module: Any, model: Any = None, **options: Any) -> None:
        self.clock = ManualClock(1000.0)
        self.options = Projection(module, **options)
        self.definition = Definition("sums", module)
        self.model = model or StateModel(self.definition, store, KEY)
        rng = random.Random(1)
        self.lane = Lane(
            *(self.definition, self.options, self.model, SERVING, store, self.clock, rng)
        )

    def begin(self) -> LaneRig:
        from eskernel.projections.progress import Progress  # noqa: PLC0415

        self.lane.begin(Progress(0, self.definition.version))
        return self

    def run(self) -> None:
        """Advance until there is nothing to do at once."""
        for _ in range(10_000):
            if not self.lane.advance(self.epoch):
                return
        raise AssertionError("it does not come to rest")

    def run_on(self, seconds: float = 1000.0) -> None:
        """Run, and after every pause too, until it is stopped or has nothing to wait for."""
        for _ in range(1000):
            self.run()
            if self.lane.stopped is not None or self.lane.waits_until() == float("inf"):
                return
            self.clock.advance(seconds)
        raise AssertionError("it does not come to rest")

    @property
    def state(self) -> Any:
        return self.model.read(lambda state: state)

    def handled(self) -> list[int]:
        """Return the positions in the ledger, which must be right: those of the state."""
        seen = list(self.state["seen"])
        progress = self.lane.progress
        assert sorted(seen) == seen
        parked = [one.position for one in progress.parked]
        check_ledger(progress, sorted([*seen, *parked, *progress.discarded]))
        return seen


def check_ledger(progress: Any, positions: list[int]) -> None:
    """Fail unless a progress notes exactly these positions, up to where it has come."""
    from eskernel.projections.ledger import Ledger  # noqa: PLC0415

    assert whole(progress.ledger) == whole(Ledger().after(positions, progress.position))


def whole(ledger: Any) -> Any:
    """Return a ledger's ranges as one."""
    joined = ledger.proved
    for one in ledger.ranges:
        joined = joined.joined(one)
    return joined


class Process:
    """One process' consumer of a projection: `step` is driven by the test, and so is its clock.

    Its lease is one that others may take over at once, unless a test says otherwise.

    Args:
        store: log and checkpoints.
        module: the projection.
        owner: what it calls itself.
        kind: of the consumer.
        model: makes the read model, from a definition; None for a state.
        options: of the projection.
    """

    def __init__(
        self,
        store: Any,
        module: Any,
        owner: str = "me",
        *,
        kind: type[Consumer] = Projector,
        model: Callable[[Definition], Any] | None = None,
        checkpoints: bool = True,
        start: int = 0,
        **options: Any,
    ) -> None:
        self.clock = ManualClock(1000.0)
        self.module = module
        self.options = Projection(module, **{"lease_seconds": EXPIRED, **options})
        self.store = store
        self.owner = owner
        self._kind = kind
        self._model = model or (lambda definition: StateModel(definition, store, KEY))
        self._checkpoints = store if checkpoints else None
        self._start = start
        self._lives = 0
        self.restart()

    def restart(self, module: Any = None) -> None:
        """Lose everything in memory, as in a crash, and begin anew, perhaps with other code."""
        self.module = module or self.module
        self._lives += 1
        self.view = View()
        definition = Definition("sums", self.module)
        self.consumer: Any = self._kind(
            *(definition, self.options, self._model(definition), self.store, self._checkpoints),
            *(KEY, f"{self.owner}/{self._lives}", self.view, self.clock),
            start=self._start,
            seed=1,
        )

    def step(self) -> float:
        return float(self.consumer.step())

    def run(self) -> float:
        """Step until there is nothing to do at once; return the pause."""
        for _ in range(10_000):
            pause = self.step()
            if pause:
                return pause
        raise AssertionError("it does not come to rest")

    def run_on(self, seconds: float = 1000.0, times: int = 20) -> None:
        """Run, let time pass and run again, so often."""
        for _ in range(times):
            self.run()
            self.clock.advance(seconds)
        self.run()

    def state(self) -> Any:
        return self.consumer._model.read(lambda state: state)

    def handled(self) -> list[int]:
        """Return the positions in the state, which must be those in its ledger."""
        seen = list(self.state()["seen"])
        progress = self.consumer.progress
        assert len(set(seen)) == len(seen)
        parked = [one.position for one in progress.parked]
        check_ledger(progress, sorted([*seen, *parked, *progress.discarded]))
        return seen
