"""ProcessKernel behaves as Kernel: what its callers get, of real worker processes."""

from __future__ import annotations

import os
import threading
from concurrent.futures import CancelledError, wait
from contextlib import closing

import pytest
import remote_domain
from remote_domain import TYPE, Noted, Refusal
from structlog.testing import capture_logs
from support import eventually, run_threads

from eskernel import Command, ProcessKernel
from eskernel.errors import (
    AggregateCrashed,
    CommandRejected,
    ConcurrencyConflict,
    DispatchTimeout,
    InvalidCommand,
    KernelStopped,
    Overloaded,
    RemoteFailure,
    UnknownAggregateType,
)
from eskernel_stores import open_store

DOMAINS = {TYPE: remote_domain}
WITHIN = 10


@pytest.fixture(autouse=True)
def _quiet_log():
    with capture_logs():
        yield


@pytest.fixture(scope="module")
def in_memory():
    with ProcessKernel(
        DOMAINS,
        "memory:",
        workers=2,
        spares=0,
        passivation_timeout=60.0,
        initializer=remote_domain.be_quiet,
    ) as kernel:
        yield kernel


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory):
    url = f"sqlite:///{tmp_path_factory.mktemp('processes') / 'events.db'}"
    with ProcessKernel(
        DOMAINS,
        url,
        workers=2,
        spares=0,
        passivation_timeout=60.0,
        inbox_limit=3,
        in_flight_limit=8,
        middleware=["remote_domain:tagging", remote_domain.failing],
        clock="remote_domain:stopped_clock",
        initializer=remote_domain.initialize,
    ) as kernel:
        kernel.url = url
        yield kernel


@pytest.fixture(params=["in_memory", "on_sqlite"])
def kernel(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def name(request):
    """The id of an aggregate that no other test uses."""
    return request.node.name


def note(name, value=1, **options):
    return Command(TYPE, name, "note", value, **options)


class Held:
    """A command that waits in its domain function, until it is let go."""

    def __init__(self, kernel, name, folder):
        self._path = folder / "held.go"
        self.future = kernel.submit(Command(TYPE, name, "wait", str(self._path)))
        eventually(self._path.with_suffix(".begun").exists, WITHIN)

    def let_go(self):
        self._path.touch()
        return self.future.result(WITHIN)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.let_go()


# Accepted.


def test_commands_are_accepted_and_states_read(kernel, name):
    accepted = [kernel.dispatch(note(name, value)) for value in (1, {"two": (2, {3})})]
    assert [one.sequence for one in accepted] == [1, 2]
    assert accepted[1].stream_id == (TYPE, name)
    (event,) = accepted[1].events
    assert (event.type, event.payload) == ("noted", {"type": "noted", "value": {"two": (2, {3})}})
    assert event.position == accepted[1].position > accepted[0].position
    assert kernel.state_of(TYPE, name) == ([1, {"two": (2, {3})}], 2)
    assert kernel.state_of(TYPE, name + "never used") == ([], 0)


def test_declared_dataclasses_travel_in_commands_events_and_states(kernel, name):
    values = [Noted("x", remote_domain.Level.HIGH), None]
    accepted = kernel.dispatch(Command(TYPE, name, "note_all", values))
    assert [event.payload for event in accepted.events] == [Noted(value) for value in values]
    assert [event.type for event in accepted.events] == ["Noted", "Noted"]
    assert kernel.state_of(TYPE, name) == (values, 2)


def test_a_command_that_changes_nothing_is_accepted_without_events(kernel, name):
    accepted = kernel.dispatch(Command(TYPE, name, "nothing"))
    assert (accepted.sequence, accepted.position, accepted.events) == (0, None, ())


def test_metadata_and_tags_travel_onto_the_events(in_memory, name):
    sent = note(name, metadata={"by": ("ada", 1)}, tags=("a", "b"))
    (event,) = in_memory.dispatch(sent).events
    assert (dict(event.metadata), event.tags) == ({"by": ("ada", 1)}, ("a", "b"))


def test_names_with_any_characters_find_their_aggregate(kernel):
    for odd in ("ä/\\%\n\U0001f600", "x" * 255):
        assert kernel.dispatch(note(odd)).sequence == 1
        assert kernel.state_of(TYPE, odd) == ([1], 1)


def test_what_was_stored_is_in_the_store_of_everybody(on_sqlite, name):
    accepted = on_sqlite.dispatch(note(name))
    with closing(open_store(on_sqlite.url)) as store:
        found = store.fold((TYPE, name), lambda events, event: [*events, event], [])
    assert [event.position for event in found] == [accepted.position]


def test_a_repeat_gets_the_first_outcome(kernel, name):
    first = kernel.dispatch(note(name, 1, command_id="once"))
    kernel.dispatch(note(name, 2))
    assert kernel.dispatch(note(name, 3, command_id="once")) == first
    assert kernel.outcome_of(TYPE, name, "once") == first
    assert kernel.outcome_of(TYPE, name, "never") is None
    assert kernel.state_of(TYPE, name) == ([1, 2], 2)


# Refused.


def test_a_refusal_tells_its_reason_and_a_declared_detail(kernel, name):
    with pytest.raises(CommandRejected) as refusal:
        kernel.dispatch(Command(TYPE, name, "refuse", [1, (2,)]))
    assert refusal.value.reason == "refused"
    assert refusal.value.detail == Refusal([1, (2,)])
    assert str(refusal.value).startswith("refused: Refusal(because=")


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        *(("built-in", KeyError), ("arithmetic", ZeroDivisionError)),
        *(("surrogate", ArithmeticError), ("own", "remote_domain.Odd")),
    ],
)
def test_a_crash_tells_what_was_raised(kernel, name, raised, kind):
    with pytest.raises(AggregateCrashed) as crash:
        kernel.dispatch(Command(TYPE, name, "raise", raised))
    cause = crash.value.__cause__
    if isinstance(kind, str):
        assert (type(cause), cause.kind) == (RemoteFailure, kind)
        assert "handle_command" in cause.traceback
    else:
        assert type(cause) is kind
        assert "handle_command" in cause.__notes__[0]
    assert (crash.value.stream_id, crash.value.retry_after) == ((TYPE, name), None)
    assert kernel.dispatch(note(name)).sequence == 1


def test_an_event_that_cannot_be_stored_is_refused(kernel, name):
    with pytest.raises(InvalidCommand, match=r"payload\['value'\]"):
        kernel.dispatch(Command(TYPE, name, "return_object"))


@pytest.mark.parametrize("way", ["dispatch", "submit"])
@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        (Command("prob", "a", "note"), UnknownAggregateType, "probe"),
        (Command(["probe"], "a", "note"), UnknownAggregateType, "probe"),
        ("note", InvalidCommand, "takes a Command"),
        (Command(TYPE, "", "note"), InvalidCommand, "aggregate_id"),
        (Command(TYPE, "nul\0", "note"), InvalidCommand, "NUL"),
        (Command(TYPE, ["a"], "note"), InvalidCommand, "aggregate_id"),
        (Command(TYPE, "half \ud800", "note"), InvalidCommand, "surrogates"),
        (Command(TYPE, "a", 7), InvalidCommand, "type"),
        (Command(TYPE, "a", "half \ud800"), InvalidCommand, "surrogates"),
        (Command(TYPE, "a", "note", object()), InvalidCommand, "payload"),
        (Command(TYPE, "a", "note", {"x": [range(3)]}), InvalidCommand, r"payload\['x'\]\[0\]"),
        (note("a", command_id=""), InvalidCommand, "command_id"),
        (note("a", expected_sequence=-1), InvalidCommand, "expected_sequence"),
        (note("a", expected_sequence=2**70), InvalidCommand, "too big|too large|out of range"),
        (note("a", tags=["a"]), InvalidCommand, "tags"),
        (note("a", tags=("",)), InvalidCommand, r"tags\[0\]"),
        (note("a", metadata={"a": object()}), InvalidCommand, "metadata"),
        (note("a", metadata=7), InvalidCommand, "metadata"),
    ],
)
def test_a_command_that_is_none_is_refused_at_once(in_memory, way, wrong, error, words):
    with pytest.raises(error, match=words):
        getattr(in_memory, way)(wrong)


def test_questions_with_wrong_arguments_are_refused(in_memory):
    with pytest.raises(UnknownAggregateType) as unknown:
        in_memory.state_of("prob", "a")
    assert (unknown.value.aggregate_type, unknown.value.known) == ("prob", (TYPE,))
    with pytest.raises(InvalidCommand):
        in_memory.state_of(TYPE, "")
    with pytest.raises(InvalidCommand, match="command_id"):
        in_memory.outcome_of(TYPE, "a", "")
    for timeout in (-1, "1", float("nan")):
        with pytest.raises(ValueError, match="timeout"):
            in_memory.dispatch(note("a"), timeout=timeout)
        with pytest.raises(ValueError, match="timeout"):
            in_memory.state_of(TYPE, "a", timeout=timeout)


def test_a_wrong_expected_sequence_is_a_conflict(kernel, name):
    kernel.dispatch(note(name, expected_sequence=0))
    with pytest.raises(ConcurrencyConflict) as conflict:
        kernel.dispatch(note(name, expected_sequence=0))
    assert (conflict.value.expected, conflict.value.actual) == (0, 1)
    assert conflict.value.stream_id == (TYPE, name)


# Time and room.


def test_a_command_that_has_begun_in_vain_may_still_finish(in_memory, name, tmp_path):
    go = tmp_path / "x.go"
    command = Command(TYPE, name, "wait", str(go), command_id="late")
    for patience in (0.1, 1.0, 5.0):  # one that has not begun never does
        with pytest.raises(DispatchTimeout) as timeout:
            in_memory.dispatch(command, timeout=patience)
        if timeout.value.started:
            break
    assert timeout.value.started
    go.touch()
    assert eventually(lambda: in_memory.outcome_of(TYPE, name, "late"), WITHIN).sequence == 1


def test_a_command_that_waits_in_vain_never_begins(in_memory, name, tmp_path):
    with Held(in_memory, name, tmp_path):
        with pytest.raises(DispatchTimeout) as timeout:
            in_memory.dispatch(note(name), timeout=0.1)
        assert not timeout.value.started
        with pytest.raises(DispatchTimeout):
            in_memory.state_of(TYPE, name, timeout=0.1)
    assert in_memory.state_of(TYPE, name)[1] == 1


def test_a_full_inbox_refuses_at_once(on_sqlite, name, tmp_path):
    with Held(on_sqlite, name, tmp_path):
        futures = [on_sqlite.submit(note(name, number)) for number in range(5)]
        full = eventually(lambda: [one for one in futures if one.done()], WITHIN)
        assert {type(one.exception()) for one in full} == {Overloaded}
    sequences = [one.result().sequence for one in futures if not one.exception(WITHIN)]
    assert sorted(sequences) == list(range(2, 2 + len(sequences)))


def test_too_many_calls_to_one_process_are_refused_at_once(on_sqlite, name, tmp_path):
    go, futures = tmp_path / "x.go", []
    waiting = [Command(TYPE, f"{name}-{number}", "wait", str(go)) for number in range(17)]
    with pytest.raises(Overloaded, match="in_flight_limit"):  # of two processes, 8 for each
        futures.extend(on_sqlite.submit(command) for command in waiting)
    go.touch()
    eventually(lambda: on_sqlite.dispatch(note(name)), WITHIN)


def test_a_quick_command_does_not_wait_for_a_long_one_that_was_sent_with_it(
    in_memory, name, tmp_path
):
    go = tmp_path / "x.go"
    # While these are sent, the others gather, and are sent in one frame.
    before = [in_memory.submit(note(f"{name}-{number}")) for number in range(200)]
    long = in_memory.submit(Command(TYPE, f"{name}-long", "wait", str(go)))
    quick = [in_memory.submit(note(f"{name}-{number}")) for number in range(200)]
    try:
        assert wait((*before, *quick), WITHIN).not_done == set()
        assert not long.done()
    finally:
        go.touch()
    assert long.result(WITHIN).sequence == 1


# Futures.


def test_futures_are_answered_each_with_its_own(kernel, name):
    values = list(range(3))
    futures = [kernel.submit(note(f"{name}-{value}", value)) for value in values]
    payloads = [future.result(WITHIN).events[0].payload["value"] for future in futures]
    assert payloads == values


def test_commands_of_a_thread_to_an_aggregate_keep_their_order(in_memory, name):
    def send(prefix):
        futures.extend(in_memory.submit(note(name, (prefix, number))) for number in range(100))

    futures = []
    run_threads(*(lambda prefix=prefix: send(prefix) for prefix in range(3)))
    assert wait(futures, WITHIN).not_done == set()
    notes, sequence = in_memory.state_of(TYPE, name)
    assert sequence == 300
    for prefix in range(3):
        assert [number for by, number in notes if by == prefix] == list(range(100))


def test_callbacks_of_futures_may_use_the_kernel(kernel, name):
    answered, done = [], threading.Event()

    def go_on(future):
        answered.append(kernel.dispatch(note(name, future.result().sequence + 1)))
        done.set()

    kernel.submit(note(name)).add_done_callback(go_on)
    assert done.wait(WITHIN)
    assert answered[0].sequence == 2
    assert kernel.state_of(TYPE, name) == ([1, 2], 2)


def test_a_future_that_fails_raises_what_the_domain_said(in_memory, name):
    future = in_memory.submit(Command(TYPE, name, "refuse"))
    with pytest.raises(CommandRejected):
        future.result(WITHIN)


def test_a_future_can_be_cancelled_until_it_is_sent_and_then_never_runs(in_memory, name, tmp_path):
    futures = [in_memory.submit(note(name, number)) for number in range(300)]
    cancelled = [number for number, one in enumerate(futures) if one.cancel()]
    wait(futures, WITHIN)
    for number in cancelled:
        with pytest.raises(CancelledError):
            futures[number].result()
    notes, _ = in_memory.state_of(TYPE, name)
    assert notes == [number for number in range(300) if number not in cancelled]


# Looking inside.


def test_live_aggregates_of_all_processes_are_listed(kernel, name):
    streams = [(TYPE, f"{name}-{number}") for number in range(6)]
    for _, one in streams:
        kernel.dispatch(note(one))
    live = kernel.live_aggregates()
    assert set(streams) <= set(live)
    assert len(live) == len(set(live)), "no aggregate lives twice"


def test_the_tree_shows_workers_actors_and_queues(in_memory, name, tmp_path):
    with Held(in_memory, name, tmp_path):
        waiting = [in_memory.submit(note(name)) for _ in range(3)]
        tree = eventually(
            lambda: (
                (found := in_memory.tree(max_aggregates=10**6)).find(f"{TYPE}/{name}").queued
                and found
            ),
            WITHIN,
        )
        workers = [node for node in tree.children if node.actor.startswith("process ")]
        assert [node.name for node in workers] == ["worker-0", "worker-1"]
        assert all(node.alive and node.restarts == 0 for node in workers)
        pids = {int(node.actor.removeprefix("process ")) for node in workers}
        assert pids == set(in_memory.worker_pids())
        assert len(pids) == 2
        assert os.getpid() not in pids
        assert sum(node.queued for node in workers) >= 4
        assert {node.children[0].actor for node in workers} == {"KernelSupervisor"}
        assert tree.find(f"{TYPE}/{name}").actor == "AggregateActor"
        assert f"{TYPE}/{name} (AggregateActor)" in str(tree)
    wait(waiting, WITHIN)


# What is named by import paths.


def test_middleware_runs_in_the_workers(on_sqlite, name):
    assert on_sqlite.dispatch(note(name, tags=("own",))).events[0].tags == (
        *("own", "passed", "initialized"),
    )
    with pytest.raises(KeyError, match="no such key"):
        on_sqlite.dispatch(Command(TYPE, name, "fail in middleware", "built-in"))
    with pytest.raises(RemoteFailure) as failure:
        on_sqlite.dispatch(Command(TYPE, name, "fail in middleware", "own"))
    assert failure.value.kind == "remote_domain.Odd"
    with pytest.raises(ArithmeticError):
        on_sqlite.submit(Command(TYPE, name, "fail in middleware", "surrogate")).result(WITHIN)


def test_the_clock_of_the_workers_stamps_events(on_sqlite, name):
    assert on_sqlite.dispatch(note(name)).events[0].timestamp == 1_000_000_500


# Starting and stopping.


def test_a_kernel_that_does_not_run_refuses_and_says_why():
    kernel = ProcessKernel(DOMAINS, "memory:", workers=1, spares=0)
    calls = [
        lambda: kernel.dispatch(note("a")),
        lambda: kernel.submit(note("a")),
        lambda: kernel.state_of(TYPE, "a"),
        lambda: kernel.outcome_of(TYPE, "a", "b"),
        kernel.tree,
    ]
    for call in calls:
        with pytest.raises(KernelStopped, match="not started"):
            call()
    assert kernel.live_aggregates() == []
    assert kernel.stop()
    with kernel:
        assert kernel.start() is kernel
        assert kernel.dispatch(note("a")).sequence == 1
        pid = kernel.tree().find("worker-0").actor
    for call in calls:
        with pytest.raises(KernelStopped, match="stopped"):
            call()
    with kernel:  # a memory: store is gone with its process
        assert kernel.dispatch(note("a")).sequence == 1
        assert kernel.tree().find("worker-0").actor != pid


def test_stopping_lets_what_was_sent_end_and_refuses_the_rest(sqlite_url, tmp_path):
    kernel = ProcessKernel(DOMAINS, sqlite_url, workers=2, spares=1).start()
    go = tmp_path / "x.go"
    futures = [
        kernel.submit(Command(TYPE, f"a{number}", "wait", str(go), command_id="its"))
        for number in range(4)
    ]
    eventually(go.with_suffix(".begun").exists, WITHIN)
    threading.Timer(0.2, go.touch).start()
    assert kernel.stop(WITHIN)
    outcomes = [future.exception(0) or future.result(0).sequence for future in futures]
    assert set(map(type, outcomes)) <= {int, KernelStopped}
    assert 1 in outcomes
    with kernel:
        for number, outcome in enumerate(outcomes):
            stored = kernel.outcome_of(TYPE, f"a{number}", "its")
            assert (stored is None) == isinstance(outcome, KernelStopped)


def test_a_stop_that_takes_too_long_kills_and_says_so(tmp_path):
    kernel = ProcessKernel(DOMAINS, "memory:", workers=1, spares=0).start()
    begun = tmp_path / "never.begun"
    future = kernel.submit(Command(TYPE, "a", "wait", str(tmp_path / "never.go")))
    eventually(begun.exists, WITHIN)
    assert not kernel.stop(0.05)
    assert future.exception(WITHIN) is not None
