"""What the tests of ProcessKernels share: a load, what must be there after it, and who is left."""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from textwrap import dedent
from typing import Any

import process_ledger
import psutil
from store_helpers import log
from support import eventually, is_alive

from eskernel import Command
from eskernel.errors import (
    AggregateCrashed,
    DispatchTimeout,
    EskernelError,
    KernelStopped,
    StoreUnavailable,
)
from eskernel.processes import ProcessKernel
from eskernel.values import shard_of
from eskernel_stores import open_store

TYPE = "ledger"
ROOT = Path(__file__).parents[1]
PATHS = [str(ROOT), str(ROOT / "stores"), str(ROOT / "tests")]
_MARK = "eskernel.processes.worker"
_PATIENCE = 30.0
"""Seconds after which a thread of a load hangs."""

Note = tuple[str, int, int]
"""A stream, who noted, and the number."""


def process_kernel(url: str, **options: Any) -> ProcessKernel:
    known = {"workers": 2, "initializer": "process_initializers:quiet"}
    return ProcessKernel({TYPE: process_ledger}, url, **known | options)


def note(stream: str, by: int, n: int, **options: Any) -> Command:
    return Command(TYPE, stream, "note", [by, n], **options)


def waiting(stream: str, path: Path, **options: Any) -> Command:
    """Return a command that runs until there is a file at this path."""
    return Command(TYPE, stream, "wait", str(path), **options)


def has_begun(path: Path) -> bool:
    """Return whether the command that waits for this path runs."""
    return path.with_suffix(".begun").exists()


# Processes.


def workers_of(pid: int | None = None) -> list[psutil.Process]:
    """Return the worker processes that a process has started, spares as well."""
    children = psutil.Process(pid).children()
    return [child for child in children if is_alive(child) and _is_worker(child)]


def _is_worker(process: psutil.Process) -> bool:
    try:
        return any(_MARK in argument for argument in process.cmdline())
    except psutil.Error:
        return False


def place_of(kernel: ProcessKernel, stream: str) -> int:
    """Return the index of the worker that serves a stream."""
    return kernel._running._workers[shard_of((TYPE, stream), kernel._shards)]


def pid_at(kernel: ProcessKernel, place: int) -> int:
    """Return the process that serves a place, as soon as there is one."""
    assert kernel._running is not None
    fleet = kernel._running._fleet
    child = eventually(lambda: fleet.slots[place].child, timeout=10)
    return child.pid


def streams_at(kernel: ProcessKernel, place: int, count: int, prefix: str = "s") -> list[str]:
    """Return names of streams that one worker serves."""
    names = (f"{prefix}{number}" for number in itertools.count())
    return list(itertools.islice((one for one in names if place_of(kernel, one) == place), count))


def all_gone(processes: Iterable[psutil.Process], timeout: float = 10) -> None:
    """Return when none of the processes does anything any more."""
    eventually(lambda: not any(map(is_alive, processes)), timeout=timeout)


def is_stopped(pid: int) -> bool:
    """Return whether SIGSTOP has reached every thread of a process."""
    stats = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)


def descriptors() -> int:
    """Return how many this process has open."""
    return len(os.listdir("/proc/self/fd"))


def program(source: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Start a Python program that can import what the tests can."""
    head = f"import sys; sys.path[:0] = {PATHS!r}\n"
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", head + dedent(source), *arguments],
        text=True,
        **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE} | options,
    )


def attempt(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function returns, or the exception it raises."""
    try:
        return function(*arguments)
    except Exception as error:
        return error


class in_thread:
    """A call on a thread of its own; calling this returns what it did, or raises it."""

    def __init__(self, function):
        self._outcome = []
        self._function = function
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        try:
            self._outcome.append((self._function(), None))
        except Exception as error:
            self._outcome.append((None, error))

    def __call__(self):
        self._thread.join(30)
        value, error = self._outcome[0]
        if error is not None:
            raise error
        return value


# A load.


class Load:
    """Threads that note numbers in every way a kernel offers, and keep books on the answers.

    Args:
        kernel: takes the commands.
        streams: the aggregates.
        seed: of the choices.
        threads: how many.

    Attributes:
        accepted: was acknowledged.
        unknown: may be stored.
        refused: must not be stored.
        errors: what was raised, by stream; of commands and questions.
    """

    def __init__(
        self, kernel: Any, streams: Sequence[str], seed: int = 0, threads: int = 16
    ) -> None:
        self._kernel, self._streams, self._seed = kernel, streams, seed
        self._over = threading.Event()
        # Added to by all threads, each time in one step.
        self.accepted: set[Note] = set()
        self.unknown: set[Note] = set()
        self.refused: set[Note] = set()
        self.errors: list[tuple[str, bool, Exception]] = []
        self._threads = [
            threading.Thread(target=self._work, args=(index,), daemon=True)
            for index in range(threads)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        self.go_on()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        deadline = time.monotonic() + _PATIENCE
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def go_on(self, more: int = 50) -> None:
        """Return when so many more commands have been accepted."""
        wanted = len(self.accepted) + more
        eventually(lambda: len(self.accepted) >= wanted, timeout=_PATIENCE)

    def errors_of(self, streams: Iterable[str]) -> list[Exception]:
        """Return what calls about these streams have raised."""
        chosen = set(streams)
        return [error for stream, _, error in self.errors if stream in chosen]

    def errors_with_id(self) -> list[Exception]:
        """Return what was raised though the command could be sent again."""
        return [error for _, repeatable, error in self.errors if repeatable]

    def check(self, url: str) -> None:
        """Check that the store holds what was accepted, once, and no more than may be there."""
        assert not any(thread.is_alive() for thread in self._threads), "a call hangs"
        allowed = (StoreUnavailable, DispatchTimeout, KernelStopped, AggregateCrashed)
        odd = [error for _, _, error in self.errors if not isinstance(error, allowed)]
        assert odd == [], odd
        check_stored(url, self._streams, self.accepted, self.unknown, self.refused)
        check_states(self._kernel, url, self._streams)

    def _work(self, index: int) -> None:
        rng = random.Random(f"{self._seed} {index}")
        futures: list[Any] = []
        n = 0
        while not self._over.is_set():
            n += 1
            stream = rng.choice(self._streams)
            one = (stream, index, n)
            options = {"command_id": f"{index} {n}"} if rng.random() < 0.5 else {}
            command = note(*one, **options)
            kind = rng.random()
            if kind < 0.6:
                self._keep(one, command, lambda c=command: self._kernel.dispatch(c, timeout=20))
            elif kind < 0.9:
                self._keep(one, command, lambda c=command: futures.append((c, self._submit(c))))
            else:
                self._ask(stream)
            if len(futures) > 10:
                self._take(futures)
            time.sleep(rng.random() * 0.002)
        self._take(futures)

    def _submit(self, command: Command) -> Any:
        return self._kernel.submit(command)

    def _take(self, futures: list[Any]) -> None:
        for command, future in futures:
            by, n = command.payload
            self._keep((command.aggregate_id, by, n), command, lambda f=future: f.result(20))
        futures.clear()

    def _keep(self, one: Note, command: Command, call: Callable[[], Any]) -> None:
        try:
            if call() is not None:  # None has only been submitted
                self.accepted.add(one)
        except Exception as error:
            self.errors.append((one[0], command.command_id is not None, error))
            (self.unknown if is_unknown(error) else self.refused).add(one)

    def _ask(self, stream: str) -> None:
        try:
            self._kernel.state_of(TYPE, stream)
        except Exception as error:
            self.errors.append((stream, True, error))


def is_unknown(error: Exception) -> bool:
    """Return whether a command may be stored although its caller got this."""
    if isinstance(error, StoreUnavailable):
        return error.outcome_unknown
    if isinstance(error, DispatchTimeout):
        return error.started
    return not isinstance(error, EskernelError)


# What is there.


def stored(url: str) -> list[Any]:
    """Return the log; as soon as the store can be read."""

    def read() -> list[Any] | None:
        try:
            with closing(open_store(url)) as store:
                return [log(store)]
        except StoreUnavailable:
            return None

    (events,) = eventually(read, timeout=_PATIENCE)
    return events


def check_stored(
    url: str,
    streams: Iterable[str],
    accepted: set[Note],
    unknown: set[Note] = frozenset(),
    refused: set[Note] = frozenset(),
) -> None:
    """Check what is stored of some streams against what callers were told."""
    chosen = set(streams)
    events = [event for event in stored(url) if event.stream_id[1] in chosen]
    notes = Counter((e.stream_id[1], e.payload["by"], e.payload["n"]) for e in events)
    assert [one for one, count in notes.items() if count > 1] == [], "stored twice"
    assert accepted - set(notes) == set(), "accepted, not stored"
    assert refused & set(notes) == set(), "refused, but stored"
    assert set(notes) - accepted - unknown == set(), "stored, and nobody asked for it"
    ids = Counter(event.command_id for event in events if event.command_id is not None)
    assert [one for one, count in ids.items() if count > 1] == [], "an id twice"
    last: dict[str, int] = {}
    for event in events:
        stream = event.stream_id[1]
        assert event.sequence == last.get(stream, 0) + 1, f"a hole in {stream}"
        last[stream] = event.sequence


def check_states(kernel: Any, url: str, streams: Iterable[str]) -> None:
    """Check that states are what a replay of the log comes to."""
    states = {stream: process_ledger.init() for stream in streams}
    for event in stored(url):
        stream = event.stream_id[1]
        if stream in states:
            states[stream] = process_ledger.apply_event(event.payload, states[stream])
    for stream, state in states.items():
        assert kernel.state_of(TYPE, stream) == (state, state["count"]), stream
