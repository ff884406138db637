"""What the kernel's tests share: a domain that can be told to misbehave, and stores as well."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from textwrap import dedent
from typing import Any

from support import eventually

from eskernel import Command, Kernel, Rejected
from eskernel.errors import StoreUnavailable
from eskernel_stores import MemoryStore

TYPE = "tally"
ROOT = Path(__file__).parents[2]


class Tally:
    """A domain that adds numbers; `hooks[function](*arguments)` runs first in each function."""

    version = "1"

    def __init__(self) -> None:
        self.hooks: dict[str, Callable[..., Any]] = {}
        self.handled: list[Command] = []

    def _hook(self, function: str, *arguments: Any) -> None:
        self.hooks.get(function, lambda *_: None)(*arguments)

    def init(self) -> dict[str, Any]:
        self._hook("init")
        return {"total": 0, "count": 0}

    def handle_command(self, command: Command, state: Any) -> Any:
        self.handled.append(command)
        self._hook("handle_command", command, state)
        match command.type:
            case "add":
                return {"type": "added", "n": command.payload}
            case "add_all":
                return [{"type": "added", "n": n} for n in command.payload]
            case "return":
                return command.payload
            case "raise":
                raise ZeroDivisionError("asked to")
        return Rejected("refused", command.payload)

    def event_type(self, payload: Any) -> str:
        self._hook("event_type", payload)
        return str(payload["type"])

    def apply_event(self, payload: Any, state: Any) -> Any:
        self._hook("apply_event", payload, state)
        return {"total": state["total"] + payload["n"], "count": state["count"] + 1}


class ProbedStore(MemoryStore):
    """A MemoryStore, immediate or written by the committer, that tests can watch and disturb.

    `hook_append(stream_id)` and `on_fold(stream_id)` run before the store does what it is asked.
    """

    def __init__(self, *, immediate: bool = True) -> None:
        super().__init__()
        self.immediate = immediate
        self.hook_append: Callable[[Any], Any] | None = None
        self.after_append: Callable[[Any], Any] | None = None
        self.on_fold: Callable[[Any], Any] | None = None
        self.folded: list[int] = []
        self.attempts = 0

    def append(self, stream_id: Any, events: Any, **options: Any) -> int:
        self.attempts += 1
        if self.hook_append is not None:
            self.hook_append(stream_id)
        position = super().append(stream_id, events, **options)
        if self.after_append is not None:
            self.after_append(stream_id)
        return position

    def fold(self, stream_id: Any, function: Any, initial: Any, *rest: Any) -> Any:
        if self.on_fold is not None:
            self.on_fold(stream_id)

        def noting(accumulator: Any, event: Any) -> Any:
            self.folded.append(event.sequence)
            return function(accumulator, event)

        return super().fold(stream_id, noting, initial, *rest)


class Gate:
    """A hook that holds the thread that meets it until it is opened."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._open = threading.Event()

    def __call__(self, *_: Any) -> None:
        self.reached.set()
        assert self._open.wait(20), "nobody opened the gate"

    def wait(self) -> None:
        assert self.reached.wait(10), "nobody reached the gate"

    def open(self) -> None:
        self._open.set()

    def __enter__(self) -> Gate:
        return self

    def __exit__(self, *_: object) -> None:
        self.open()


class Watch:
    """Notes how many appends each durable write of a store has, and holds one if it is told to.

    Args:
        store: not yet any kernel's.
    """

    def __init__(self, store: Any) -> None:
        self.sizes: list[int] = []
        self._write = store.append_batch
        self._gate: Gate | None = None
        store.append_batch = self

    def __call__(self, commits: Any) -> Any:
        self.sizes.append(len(commits))
        gate, self._gate = self._gate, None
        if gate is not None:
            gate()
        return self._write(commits)

    def held(self) -> Gate:
        """Return a gate that holds the next write until it is opened."""
        self._gate = Gate()
        return self._gate


def unavailable(*, outcome_unknown: bool) -> Callable[[Any], None]:
    """Return a store's hook that finds it down."""

    def fail(_stream_id: Any) -> None:
        raise StoreUnavailable("made to fail", outcome_unknown=outcome_unknown)

    return fail


def add(aggregate_id: str = "a", n: Any = 1, **options: Any) -> Command:
    return Command(TYPE, aggregate_id, "add", n, **options)


def command(kind: str, payload: Any = None, aggregate_id: str = "a", **options: Any) -> Command:
    return Command(TYPE, aggregate_id, kind, payload, **options)


def events_of(store: MemoryStore, aggregate_id: str = "a", aggregate_type: str = TYPE) -> list[Any]:
    """Return a stream's events; their sequences must have no hole."""
    events = MemoryStore.fold(
        store, (aggregate_type, aggregate_id), lambda found, event: [*found, event], []
    )
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    return events


def numbers_of(store: MemoryStore, aggregate_id: str = "a") -> list[Any]:
    return [event.payload["n"] for event in events_of(store, aggregate_id)]


def attempt(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Return what a function returns, or the exception it raises."""
    try:
        return function(*arguments, **options)
    except Exception as error:
        return error


def dispatch_together(
    kernel: Kernel,
    watch: Watch,
    commands: Iterable[Command],
    meanwhile: Callable[[], Any] = lambda: None,
) -> list[Any]:
    """Have all commands be in one durable write, the one after that of another aggregate.

    Args:
        kernel: of a store that is watched.
        watch: of its store; the sizes noted before are forgotten.
        commands: sent one after the other.
        meanwhile: called when all are decided, and before they are written.

    Returns:
        What each command returned or raised.
    """
    watch.sizes.clear()
    with watch.held() as gate:
        first = kernel.submit(add("first", 0))
        gate.wait()
        waiting = [kernel.submit(command) for command in commands]
        eventually(lambda: len(kernel._runtime.services.commits) == 1 + len(waiting))
        meanwhile()
    assert first.result(10).sequence == 1
    outcomes = [attempt(one.result, 10) for one in waiting]
    assert watch.sizes == [1, len(waiting)]
    return outcomes


def stop_aggregate(kernel: Kernel, aggregate_id: str = "a", aggregate_type: str = TYPE) -> None:
    """Have an aggregate leave memory, as passivation does."""
    ref = kernel.aggregate_ref(aggregate_type, aggregate_id)
    assert ref is not None
    assert ref.stop(timeout=5)
    assert (aggregate_type, aggregate_id) not in kernel.live_aggregates()


def snapshot_past(store: Any, sequence: int, aggregate_id: str = "a") -> Any:
    """Wait until an aggregate has a snapshot of this sequence or a later one, and return it."""

    def found() -> Any:
        snapshot = store.load_latest((TYPE, aggregate_id))
        return snapshot if snapshot is not None and snapshot.sequence >= sequence else None

    return eventually(found)


def run_script(source: str, timeout: float = 20, **environment: str) -> str:
    """Run a program in an interpreter of its own, and return what it printed.

    It must end by itself, with status 0 and nothing on stderr.
    """
    paths = [str(ROOT), str(ROOT / "stores"), str(ROOT / "tests"), str(Path(__file__).parent)]
    program = f"import sys; sys.path[:0] = {paths!r}\n{dedent(source)}"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, **environment},
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout
