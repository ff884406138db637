"""Ways to kill an actor, and a load of threads that count what was accepted meanwhile."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest
import structlog.testing
from pykka import ActorDeadError, ActorRef
from stress_helpers import TYPE, Ledger, check_order, check_states, note, noted
from support import eventually

from eskernel import Kernel
from eskernel.actors.aggregate.supervisor import AggregateSupervisor


class Bomb:
    """A message that raises in the actor that looks at it, and not when that is logged."""

    def __init__(self, error: BaseException) -> None:
        self._error: BaseException | None = error

    def __repr__(self) -> str:
        error, self._error = self._error, None
        if error is not None:
            raise error
        return "Bomb()"


@pytest.fixture
def quiet_log() -> Iterator[None]:
    """Keep the log from drawing tracebacks, which takes longer than what is tested."""
    with structlog.testing.capture_logs():
        yield


@pytest.fixture
def no_gap(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """An AggregateSupervisor that starts only when the returned event is set."""
    open_ = threading.Event()
    open_.set()
    on_start = AggregateSupervisor.on_start

    def wait_first(self: AggregateSupervisor) -> None:
        assert open_.wait(10)
        on_start(self)

    monkeypatch.setattr(AggregateSupervisor, "on_start", wait_first)
    yield open_
    open_.set()


def stop(ref: ActorRef[Any]) -> None:
    ref.stop(block=False)


def failing_tell(ref: ActorRef[Any]) -> None:
    with suppress(ActorDeadError):
        ref.tell(Bomb(ZeroDivisionError("a message it fails on")))


def base_exception(ref: ActorRef[Any]) -> None:
    with suppress(ActorDeadError):
        ref.tell(Bomb(SystemExit("out of its loop")))


WAYS: list[Callable[[ActorRef[Any]], None]] = [stop, failing_tell, base_exception]


def find(kernel: Kernel, name: str) -> ActorRef[Any] | None:
    """Return the actor of that name, the root's being "root"; None while it is down."""
    if name == "root":
        return kernel._runtime.root
    return next((node.ref for node in kernel.tree().children if node.name == name), None)


def replaced(kernel: Kernel, name: str, old: ActorRef[Any]) -> bool:
    new = find(kernel, name)
    return new is not None and new is not old and new.is_alive()


class in_thread:
    """A call on a thread of its own, with a future's `done` and `result`."""

    def __init__(self, function, *args, **options):
        self._outcome = []

        def run():
            try:
                self._outcome.append((function(*args, **options), None))
            except BaseException as error:
                self._outcome.append((None, error))

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def done(self):
        return bool(self._outcome)

    def result(self, timeout):
        self._thread.join(timeout)
        assert self._outcome, "it hangs"
        value, error = self._outcome[0]
        if error is not None:
            raise error
        return value


class Load:
    """Threads that dispatch and submit numbered commands until told to stop."""

    def __init__(
        self,
        kernel: Kernel,
        store: Any,
        domain: Ledger,
        seed: int,
        streams: Sequence[str],
        threads: int = 16,
    ) -> None:
        self._kernel, self._store, self._domain = kernel, store, domain
        self._seed, self._streams = seed, streams
        self._over = threading.Event()
        self.accepted: set[tuple[str, int, int]] = set()
        self.errors: Counter[str] = Counter()
        self._threads = [
            threading.Thread(target=self._work, args=(index,), daemon=True)
            for index in range(threads)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        eventually(lambda: len(self.accepted) > 2 * len(self._threads))
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)
        if kind is None:
            assert not any(thread.is_alive() for thread in self._threads), "a call hangs"
            self.check()

    def check(self) -> None:
        """Check that what was accepted is stored once and counted once, and nothing else is."""
        store, streams = self._store, self._streams
        stored = [(stream, *one) for stream in streams for one in noted(store, stream)]
        assert self.errors == {}, self.errors
        assert len(stored) == len(set(stored)), "stored twice"
        assert self.accepted - set(stored) == set(), "accepted, not stored"
        assert set(stored) - self.accepted == set(), "stored, not accepted"
        check_order(store, streams)
        check_states(self._kernel, store, streams)
        assert self._domain.overlaps == [], "two threads in one aggregate"
        eventually(lambda: not self._kernel._runtime.services.owners)

    def _work(self, index: int) -> None:
        rng = random.Random(f"{self._seed} {index}")
        waiting: list[Any] = []
        n = 0
        while not self._over.is_set():
            n += 1
            stream = rng.choice(self._streams)
            try:
                if rng.random() < 0.7:
                    self._kernel.dispatch(note(stream, index, n), timeout=20)
                    self.accepted.add((stream, index, n))
                else:
                    waiting.append((stream, n, self._kernel.submit(note(stream, index, n))))
            except BaseException as error:
                self.errors[repr(error)] += 1
            if len(waiting) > 10:
                self._take(index, waiting)
            time.sleep(rng.random() * 0.002)
        self._take(index, waiting)

    def _take(self, index: int, waiting: list[Any]) -> None:
        for stream, n, future in waiting:
            try:
                future.result(20)
                self.accepted.add((stream, index, n))
            except BaseException as error:
                self.errors[repr(error)] += 1
        waiting.clear()


def works(kernel: Kernel, stream: str, n: int, within: float = 1.0) -> None:
    """Check that dispatch and submit work within so many seconds."""
    begun = time.monotonic()
    kernel.dispatch(note(stream, 99, n), timeout=within)
    kernel.submit(note(stream, 99, n + 1)).result(within)
    assert time.monotonic() - begun < within
    assert kernel.state_of(TYPE, stream)[1] >= 2
