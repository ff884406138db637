"""The kernel against a plain dict: commands, repeats, passivations, kills, restarts, clocks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from typing import Any

import hypothesis.strategies as st
import pytest
import structlog.testing
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pykka import ActorDeadError
from pykka.messages import ProxyCall
from support import eventually

from domains import bank_account
from eskernel import Accepted, Command, Event, Kernel, Rejected
from eskernel.errors import AggregateCrashed, CommandRejected, ConcurrencyConflict
from eskernel.testing import ManualClock
from eskernel_stores import MemoryStore


@pytest.fixture(autouse=True)
def _quiet_log() -> Iterator[None]:
    """Keep the log from drawing tracebacks, which takes longer than what is tested."""
    with structlog.testing.capture_logs():
        yield


IDLE = 0.02
"""Seconds of the manual clock after which aggregates are passivated."""
WITHIN = 5.0
# Fewer than a kernel survives in 10 seconds.
KILLS_OF_CHILDREN, KILLS_OF_ROOT = 8, 3


class Tally:
    """Notes numbers, several at once, and fails in every way a domain can."""

    version = "1"

    @staticmethod
    def init() -> list[int]:
        return []

    @staticmethod
    def handle_command(command: Command, state: list[int]) -> Any:
        match command.type:
            case "note":
                return [{"type": "noted", "n": n} for n in command.payload]
            case "note_unless_odd":
                odd = len(state) % 2 == 1
                return Rejected("odd", len(state)) if odd else {"type": "noted", "n": 0}
            case "crash_deciding":
                raise ZeroDivisionError("asked to crash")
            case "crash_evolving":
                return [{"type": "noted", "n": 1}, {"type": "poison"}]
        return None

    @staticmethod
    def apply_event(payload: Any, state: list[int]) -> list[int]:
        return [*state, payload["n"]]


DOMAINS: dict[str, Any] = {"bank_account": bank_account, "tally": Tally}


class DeferredStore(MemoryStore):
    """A MemoryStore whose appends go through the committer."""

    immediate = False


class Model:
    """What a stream should be: its events, the state they make and the receipts kept."""

    def __init__(self, domain: Any) -> None:
        self.domain = domain
        self.events: list[tuple[Any, str | None]] = []

    def state(self) -> Any:
        state = self.domain.init()
        for payload, _ in self.events:
            state = self.domain.apply_event(payload, state)
        return state

    def receipts(self, kept: int) -> dict[str, tuple[int, int]]:
        found: dict[str, tuple[int, int]] = {}
        for sequence, (_, command_id) in enumerate(self.events, 1):
            if command_id is None:
                continue
            found[command_id] = (found.get(command_id, (sequence, 0))[0], sequence)
            if len(found) > kept:
                del found[next(iter(found))]
        return found

    def decide(self, command: Command, kept: int) -> Any:
        """Return (first, last) of the events accepted, or the error expected; store them."""
        receipt = self.receipts(kept).get(command.command_id or "")
        if receipt is not None:
            return receipt
        length, expected = len(self.events), command.expected_sequence
        if expected is not None and expected != length:
            return ConcurrencyConflict((command[0], command[1]), expected, length)
        try:
            decided = self.domain.handle_command(command, self.state())
            if isinstance(decided, Rejected):
                return CommandRejected(decided.reason, decided.detail)
            if decided is None:
                decided = []
            payloads = decided if isinstance(decided, list) else [decided]
            state = self.state()
            for payload in payloads:
                state = self.domain.apply_event(payload, state)
        except Exception as error:
            return AggregateCrashed(str(error))
        self.events += [(payload, command.command_id) for payload in payloads]
        return length + 1, len(self.events)


OPTIONS = st.fixed_dictionaries(
    {
        "snapshot_interval": st.sampled_from([0, 1, 2, 5]),
        "snapshots_kept": st.sampled_from([1, 3]),
        "max_live_aggregates": st.sampled_from([None, 1, 2]),
    }
)
AGGREGATES = st.sampled_from(
    [(kind, name) for kind in DOMAINS for name in ("a", "../../etc/passwd", "\N{SNOWMAN}")]
)
IDS = st.sampled_from([None, None, "id-1", "id-2", "id-3"])
EXPECTED = st.sampled_from([None, None, None, 0, -1, 1])
"""None, or how far the expected sequence is from the true one; -1 only where there is one."""


def commands(kind: str) -> st.SearchStrategy[tuple[str, Any]]:
    if kind == "bank_account":
        amount = st.integers(-1, 60).map(lambda n: {"amount": n})
        return st.tuples(st.sampled_from(["deposit", "deposit", "withdraw", "waltz"]), amount)
    plain = st.sampled_from(["note_unless_odd", "crash_deciding", "crash_evolving", "nothing"])
    some = st.lists(st.integers(0, 9), max_size=3)
    return st.tuples(st.just("note"), some) | st.tuples(plain, st.none())


class KernelModel(RuleBasedStateMachine):
    """Whatever happens to the actors, callers see what a dict of event lists would give."""

    store: MemoryStore
    kernel: Kernel

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock(1_700_000_000.0)
        self.streams: dict[tuple[str, str], Model] = {}
        self.total = self.killed = self.roots_killed = 0
        self.limit: int | None = None
        # False while a command is under way: if it fails, the rest need not be compared.
        self.sound = True

    @initialize(
        store=st.sampled_from([MemoryStore, DeferredStore]),
        options=OPTIONS,
        kept=st.sampled_from([0, 1, 2, 1000]),
    )
    def begin(self, store: type[MemoryStore], options: dict[str, Any], kept: int) -> None:
        self.store, self.kept = store(), kept
        self._start(options)

    def _start(self, options: dict[str, Any]) -> None:
        self.limit = options["max_live_aggregates"]
        self.killed = self.roots_killed = 0
        self.kernel = Kernel(
            DOMAINS,
            self.store,
            receipts_kept=self.kept,
            passivation_timeout=IDLE,
            dispatch_timeout=WITHIN,
            clock=self.clock,
            **options,
        ).start()

    def _model(self, stream: tuple[str, str]) -> Model:
        return self.streams.setdefault(stream, Model(DOMAINS[stream[0]]))

    # What callers do.

    @rule(
        stream=AGGREGATES,
        data=st.data(),
        command_id=IDS,
        expected=EXPECTED,
        submitted=st.booleans(),
    )
    def send(
        self,
        stream: tuple[str, str],
        data: Any,
        command_id: str | None,
        expected: int | None,
        submitted: bool,
    ) -> None:
        kind, payload = data.draw(commands(stream[0]))
        self._send(stream, kind, payload, command_id, expected, submitted=submitted)

    def _send(
        self,
        stream: tuple[str, str],
        kind: str,
        payload: Any,
        command_id: str | None = None,
        expected: int | None = None,
        *,
        submitted: bool = False,
    ) -> None:
        self.sound = False
        model = self._model(stream)
        before = len(model.events)
        if expected is not None:
            expected = max(0, before + expected)
        command = Command(*stream, kind, payload, command_id=command_id, expected_sequence=expected)
        should = model.decide(deepcopy(command), self.kept)
        outcome: Any
        try:
            if submitted:
                outcome = self.kernel.submit(command).result(WITHIN)
            else:
                outcome = self.kernel.dispatch(command)
        except (CommandRejected, ConcurrencyConflict, AggregateCrashed) as error:
            outcome = error
        self._compare(stream, should, outcome, before)
        self.sound = True

    def _compare(self, stream: tuple[str, str], should: Any, outcome: Any, before: int) -> None:
        model = self._model(stream)
        assert type(outcome) is (Accepted if isinstance(should, tuple) else type(should)), outcome
        if isinstance(outcome, CommandRejected):
            assert (outcome.reason, outcome.detail) == (should.reason, should.detail)
        elif isinstance(outcome, ConcurrencyConflict):
            assert (outcome.expected, outcome.actual) == (should.expected, should.actual)
        elif isinstance(outcome, Accepted):
            first, last = should
            assert outcome.stream_id == stream
            assert outcome.sequence == last
            assert [event.sequence for event in outcome.events] == list(range(first, last + 1))
            payloads = [payload for payload, _ in model.events[first - 1 : last]]
            assert [event.payload for event in outcome.events] == payloads
            self.total += len(model.events) - before

    @rule(stream=AGGREGATES)
    def read(self, stream: tuple[str, str]) -> None:
        model = self._model(stream)
        assert self.kernel.state_of(*stream) == (model.state(), len(model.events))

    @rule(stream=AGGREGATES, command_id=st.sampled_from(["id-1", "id-2", "id-3", "id-4"]))
    def recall(self, stream: tuple[str, str], command_id: str) -> None:
        found = self.kernel.outcome_of(*stream, command_id)
        receipt = self._model(stream).receipts(self.kept).get(command_id)
        if receipt is None:
            assert found is None
        else:
            assert found is not None
            sequences = [event.sequence for event in found.events]
            assert (sequences[0], sequences[-1]) == receipt

    @rule(name=st.sampled_from(["a", "\N{SNOWMAN}"]), submitted=st.booleans())
    def send_after_another_process_wrote(self, name: str, submitted: bool) -> None:
        stream = ("bank_account", name)
        model = self._model(stream)
        payload = {"type": "deposited", "amount": 7}
        event = Event(stream, len(model.events) + 1, "deposited", payload)
        self.store.append(stream, [event], expected_sequence=len(model.events))
        model.events.append((payload, None))
        self.total += 1
        self._send(stream, "deposit", {"amount": 1}, submitted=submitted)

    # What befalls the actors.

    @rule()
    def time_passes_but_nobody_is_idle_yet(self) -> None:
        self.clock.advance(IDLE / 1000)

    @rule()
    def everything_is_passivated(self) -> None:
        self.clock.advance(2 * IDLE)
        eventually(lambda: not self.kernel.live_aggregates())

    @rule(stream=AGGREGATES, fails=st.booleans())
    def an_aggregate_ends(self, stream: tuple[str, str], fails: bool) -> None:
        ref = self.kernel.aggregate_ref(*stream)
        if ref is not None and fails:
            with suppress(ActorDeadError):
                ref.tell("a message it fails on")
        elif ref is not None:
            ref.stop()
            assert not ref.is_alive()

    @precondition(lambda self: self.killed < KILLS_OF_CHILDREN)
    @rule(
        name=st.sampled_from(["aggregate-supervisor", "aggregate-manager", "actor-pool", "timer"]),
        fails=st.booleans(),
        waited=st.booleans(),
    )
    def an_actor_of_the_tree_is_killed(self, name: str, fails: bool, waited: bool) -> None:
        self.killed += 1
        nodes = self.kernel.tree().children
        ref = next((node.ref for node in nodes if node.name == name), None)
        if ref is None or not ref.is_alive():
            return
        if fails:
            with suppress(ActorDeadError):
                ref.tell(ProxyCall(attr_path=("no_such_method",), args=(), kwargs={}))
        else:
            ref.stop(block=waited)

    @precondition(lambda self: self.roots_killed < KILLS_OF_ROOT)
    @rule(waited=st.booleans())
    def the_root_is_killed(self, waited: bool) -> None:
        root = self.kernel._runtime.root
        self.roots_killed += 1
        root.stop(block=False)
        if waited:
            eventually(lambda: self.kernel._runtime.root is not root)

    @rule(options=OPTIONS, by=st.sampled_from(["stop", "new kernel"]))
    def the_kernel_restarts(self, options: dict[str, Any], by: str) -> None:
        assert self.kernel.stop() is True
        if by == "stop":
            self.kernel.start()
            self.killed = self.roots_killed = 0
        else:
            self._start(options)

    # What always holds.

    @invariant()
    def no_more_aggregates_live_than_may(self) -> None:
        # Busy ones stay, so one that has yet to handle a message may outlive this moment; then
        # the timer makes room.
        if self.limit is not None:
            most = self.limit
            eventually(lambda: len(self.kernel.live_aggregates()) <= most)

    @invariant()
    def the_log_holds_what_was_accepted(self) -> None:
        if hasattr(self, "store"):
            assert self.store.last_position() == self.total

    def teardown(self) -> None:
        if not hasattr(self, "kernel"):
            return
        stopped = self.kernel.stop()
        if not self.sound:
            return
        assert stopped is True
        events, _ = self.store.fold_all(lambda found, event: [*found, event], [])
        assert [event.position for event in events] == list(range(1, self.total + 1))
        for stream, model in self.streams.items():
            mine = [event for event in events if event.stream_id == stream]
            assert [event.sequence for event in mine] == list(range(1, len(mine) + 1))
            assert [(event.payload, event.command_id) for event in mine] == model.events
        with Kernel(DOMAINS, self.store) as fresh:
            for stream, model in self.streams.items():
                assert fresh.state_of(*stream) == (model.state(), len(model.events))


TestKernelModel = KernelModel.TestCase
TestKernelModel.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
