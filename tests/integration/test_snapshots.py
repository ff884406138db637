"""Snapshots: when they are taken, when they are used, and that they never matter."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

import pytest
from kernel_helpers import (
    TYPE,
    Gate,
    ProbedStore,
    Tally,
    add,
    attempt,
    command,
    numbers_of,
    run_script,
    snapshot_past,
)
from kernel_helpers import stop_aggregate as stop
from structlog.testing import capture_logs
from support import eventually

from eskernel import Command, Event, Kernel, Snapshot
from eskernel.errors import AggregateCrashed, StoreUnavailable
from eskernel_stores import MemoryStore

STREAM = (TYPE, "a")


class Shelf:
    """A snapshot store that remembers every call, and fails when told to."""

    def __init__(self) -> None:
        self.stored: list[tuple[Snapshot, int]] = []
        self.latest: Snapshot | None = None
        self.failure: Exception | None = None

    def store(self, snapshot, *, keep=1):
        if self.failure:
            raise self.failure
        self.stored.append((snapshot, keep))
        self.latest = snapshot

    def load_latest(self, stream_id):
        if self.failure:
            raise self.failure
        return self.latest

    def sequences(self):
        return sorted(snapshot.sequence for snapshot, _ in self.stored)


@pytest.fixture
def shelf():
    return Shelf()


# Taking them.


def test_a_snapshot_is_taken_whenever_an_append_crosses_the_interval(start, shelf):
    kernel = start(snapshot_store=shelf, snapshot_interval=3)
    for numbers in ([1], [2], [3], [4, 5], [6, 7, 8, 9, 10], [11], [12, 13, 14]):
        kernel.dispatch(command("add_all", numbers))
    eventually(lambda: shelf.sequences() == [3, 10, 14])
    by_sequence = {snapshot.sequence: snapshot for snapshot, _ in shelf.stored}
    assert by_sequence[10].state == {"total": 55, "count": 10}
    assert by_sequence[10].stream_id == STREAM
    assert by_sequence[10].version == "1"


def test_without_an_interval_none_is_taken(start, shelf):
    kernel = start(snapshot_store=shelf)
    kernel.dispatch(command("add_all", list(range(1000))))
    kernel.stop()
    assert shelf.stored == []


def test_an_event_store_that_keeps_snapshots_keeps_them(start, store):
    kernel = start(snapshot_interval=2)
    kernel.dispatch(command("add_all", [1, 2]))
    assert snapshot_past(store, 2).state == {"total": 3, "count": 2}


def test_a_snapshot_store_of_its_own_is_used_instead(start, store, shelf):
    kernel = start(snapshot_store=shelf, snapshot_interval=1)
    kernel.dispatch(add())
    eventually(lambda: shelf.sequences() == [1])
    assert store.load_latest(STREAM) is None
    stop(kernel)
    folded = len(store.folded)
    assert kernel.state_of(TYPE, "a")[1] == 1
    assert len(store.folded) - folded <= 1, "it was rebuilt from the snapshot"


@pytest.mark.parametrize("kept", [1, 3])
def test_so_many_snapshots_as_asked_for_are_retained(kept, start, shelf):
    kernel = start(snapshot_store=shelf, snapshot_interval=1, snapshots_kept=kept)
    kernel.dispatch(add())
    eventually(lambda: shelf.stored)
    assert [keep for _, keep in shelf.stored] == [kept]


def test_a_snapshot_does_not_change_with_the_state_it_was_taken_of(start, shelf, domain):
    domain.init = lambda: {"list": []}
    domain.apply_event = lambda payload, state: (state["list"].append(payload["n"]), state)[1]
    kernel = start(snapshot_store=shelf, snapshot_interval=1)
    for n in range(3):
        kernel.dispatch(add(n=n))
    eventually(lambda: len(shelf.stored) == 3)
    states = {snapshot.sequence: snapshot.state["list"] for snapshot, _ in shelf.stored}
    assert states == {1: [0], 2: [0, 1], 3: [0, 1, 2]}


def test_the_caller_does_not_wait_for_a_snapshot(start, shelf):
    kernel = start(snapshot_store=shelf, snapshot_interval=1)
    with Gate() as gate:
        write = shelf.store
        shelf.store = lambda *arguments, **options: (gate(), write(*arguments, **options))
        for n in range(1, 4):
            assert kernel.dispatch(add(), timeout=5).sequence == n
        gate.wait()
    eventually(lambda: shelf.sequences() == [1, 2, 3])


# Using them.


def test_rehydration_folds_only_the_events_after_the_snapshot(start, store):
    kernel = start(snapshot_interval=100)
    kernel.dispatch(command("add_all", list(range(100))))
    snapshot_past(store, 100)
    for n in range(5):
        kernel.dispatch(add(n=n))
    stop(kernel)
    store.folded.clear()
    assert kernel.state_of(TYPE, "a") == ({"total": 4950 + 10, "count": 105}, 105)
    assert [sequence for sequence in store.folded if sequence > 100] == [101, 102, 103, 104, 105]
    assert len([sequence for sequence in store.folded if sequence <= 100]) <= 1


def planted(store, sequence, state, version="1", **options):
    """Fill a stream with 1, 2, 3, 4 and plant a snapshot."""
    events = [Event(STREAM, n, "added", {"type": "added", "n": n}) for n in range(1, 5)]
    MemoryStore.append(store, STREAM, events, expected_sequence=0)
    store.store(Snapshot(STREAM, sequence, state, version, **options))


TRUE_STATE = ({"total": 10, "count": 4}, 4)


def test_a_fitting_snapshot_is_what_the_state_starts_from(start, store):
    planted(store, 3, {"total": 1006, "count": 3})  # not what the events say, so it shows
    assert start().state_of(TYPE, "a") == ({"total": 1010, "count": 4}, 4)


@pytest.mark.parametrize(
    ("sequence", "state", "version", "logged"),
    [
        (3, {"total": -1}, "2", "snapshot_of_other_version"),
        (3, {"total": -1}, "", "snapshot_of_other_version"),
        (5, {"total": -1, "count": -1}, "1", "snapshot_ahead_of_stream"),
        (1000, {"total": -1, "count": -1}, "1", "snapshot_ahead_of_stream"),
        (3, {"nothing": "that the domain knows"}, "1", "snapshot_unusable"),
        (3, None, "1", "snapshot_unusable"),
    ],
)
def test_a_snapshot_that_does_not_fit_is_ignored_and_logged(
    sequence, state, version, logged, start, store
):
    planted(store, sequence, state, version)
    kernel = start()
    with capture_logs() as logs:
        assert kernel.state_of(TYPE, "a") == TRUE_STATE
    assert [entry["event"] for entry in logs] == [logged]
    assert logs[0]["stream_id"] == STREAM
    assert kernel.dispatch(add(n=5)).sequence == 5


def test_a_damaged_snapshot_is_ignored_and_logged(start, store):
    planted(store, 3, {"total": -1, "count": -1})
    damaged = store.load_latest(STREAM)._replace(body=b"\xc1\xc1")
    store.load_latest = lambda _stream: damaged
    with capture_logs() as logs:
        assert start().state_of(TYPE, "a") == TRUE_STATE
    assert [entry["log_level"] for entry in logs] == ["warning"]


def test_a_snapshot_on_a_stream_that_is_gone_is_ignored(start, store):
    store.store(Snapshot(STREAM, 7, {"total": 7, "count": 7}, "1"))
    kernel = start()
    assert kernel.state_of(TYPE, "a") == ({"total": 0, "count": 0}, 0)
    assert kernel.dispatch(add()).sequence == 1


def test_a_broken_snapshot_store_is_a_warning_and_nothing_more(start, store, shelf):
    kernel = start(snapshot_store=shelf, snapshot_interval=1)
    for failure in (StoreUnavailable("away"), OSError("disk full"), ZeroDivisionError()):
        shelf.failure = failure
        with capture_logs() as logs:
            last = kernel.dispatch(add()).sequence
            eventually(lambda logs=logs: logs)
            stop(kernel)
            assert kernel.state_of(TYPE, "a")[1] == last
        assert {entry["log_level"] for entry in logs} == {"warning"}
        names = {entry["event"] for entry in logs}
        assert names == {"snapshot_not_stored", "snapshot_not_loaded"}
    assert len(numbers_of(store)) == 3


def test_a_state_that_cannot_be_stored_costs_only_the_snapshot(start, store, domain, shelf):
    domain.apply_event = lambda _payload, _state: {"odd": object()}
    kernel = start(snapshot_store=shelf, snapshot_interval=1)
    with capture_logs() as logs:
        assert kernel.dispatch(add()).sequence == 1
        assert kernel.dispatch(add()).sequence == 2
    assert {entry["event"] for entry in logs} == {"snapshot_not_encoded"}
    assert shelf.stored == []


def test_damaged_events_behind_a_damaged_snapshot_are_still_found_out(start, store, domain):
    planted(store, 3, None)
    domain.hooks["apply_event"] = lambda payload, _state: 1 / (payload["n"] - 2)
    error = attempt(start().dispatch, add())
    assert isinstance(error, AggregateCrashed)
    assert isinstance(error.__cause__, ZeroDivisionError)


# Versions.

SOURCE = """
FACTOR = {factor}

def init():
    return 0

def handle_command(command, state):
    return {{"type": "added", "n": command.payload}}

def apply_event(payload, state):
    return state + FACTOR * payload["n"]
"""


def load_domain(folder, source):
    path = folder / f"domain_{abs(hash(source))}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_once(domain, store):
    """Dispatch 1 to a kernel of its own that takes snapshots; return the state after it."""
    with Kernel({TYPE: domain}, store, snapshot_interval=1) as kernel:
        sequence = kernel.dispatch(add()).sequence
        snapshot_past(store, sequence)
        return kernel.state_of(TYPE, "a")[0]


def test_a_domain_without_a_version_drops_its_snapshots_when_its_source_changes(tmp_path):
    store = ProbedStore()
    assert run_once(load_domain(tmp_path, SOURCE.format(factor=1)), store) == 1
    assert run_once(load_domain(tmp_path, SOURCE.format(factor=10)), store) == 20
    store.folded.clear()
    assert run_once(load_domain(tmp_path, SOURCE.format(factor=10) + "\n"), store) == 30
    assert store.folded[:1] == [1], "even a blank line makes another version"


def test_a_domain_keeps_its_snapshots_while_its_declared_version_stays(tmp_path):
    store = ProbedStore()
    source = "version = 7\n" + SOURCE
    assert run_once(load_domain(tmp_path, source.format(factor=1)), store) == 1
    assert run_once(load_domain(tmp_path, source.format(factor=10)), store) == 11
    newer = source.replace("version = 7", "version = 8")
    assert run_once(load_domain(tmp_path, newer.format(factor=10)), store) == 30


@dataclass(frozen=True)
class Sum:
    total: int = 0


def test_states_that_are_dataclasses_come_back_from_snapshots(domain, start, store):
    domain.types = (Sum,)
    domain.init = Sum
    domain.apply_event = lambda payload, state: Sum(state.total + payload["n"])
    kernel = start(snapshot_interval=2)
    kernel.dispatch(Command(TYPE, "a", "add_all", [1, 2]))
    assert snapshot_past(store, 2).sequence == 2
    stop(kernel)
    store.folded.clear()
    assert kernel.state_of(TYPE, "a") == (Sum(3), 2)
    assert len(store.folded) <= 1


def test_a_snapshot_is_worth_nothing_to_another_domain_under_the_same_name(start, store):
    kernel = start(snapshot_interval=1)
    kernel.dispatch(add(n=4))
    snapshot_past(store, 1)
    kernel.stop()

    class Double(Tally):
        version = None  # so that its functions stand for it

        def apply_event(self, payload, state):
            return {"total": state["total"] + 2 * payload["n"], "count": state["count"] + 1}

    assert start(domains={TYPE: Double()}).state_of(TYPE, "a") == ({"total": 8, "count": 1}, 1)


def test_the_version_of_a_domain_without_source_is_the_same_in_every_process():
    script = """
        from eskernel.actors.aggregate.bound_domain import BoundDomain

        class Domain:
            def init(self):
                return 0

            def handle_command(self, command, state):
                return "x" if command.type in {"a", "b", "c", "d"} else None

            def apply_event(self, payload, state):
                return state

        print(BoundDomain("x", Domain()).version)
    """
    versions = {run_script(script, PYTHONHASHSEED=seed) for seed in "123"}
    assert len(versions) == 1
