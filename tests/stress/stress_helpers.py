"""What the stress tests share: a counting domain, stores in both modes, threads, seeds."""

from __future__ import annotations

import ctypes
import random
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from eskernel import Command, Rejected
from eskernel.errors import StoreUnavailable
from eskernel_stores import MemoryStore

TYPE = "ledger"


class Ledger:
    """A domain that notes numbers, and whether it ever ran twice at once for one stream."""

    version = "1"

    def __init__(self) -> None:
        self._inside: dict[Any, int] = {}
        self.overlaps: list[Any] = []
        self.during: Callable[[Any], None] | None = None

    def init(self) -> dict[str, int]:
        return {"count": 0, "total": 0}

    def handle_command(self, command: Any, state: Any) -> Any:
        stream = command[:2]
        me = threading.get_ident()
        try:
            if self._inside.setdefault(stream, me) != me:
                self.overlaps.append(stream)
            if self.during is not None:
                self.during(command)
            kind, payload = command.type, command.payload
            if kind == "crash":
                raise ZeroDivisionError("asked to crash")
            if kind == "refuse":
                return Rejected("refused", payload)
            if kind == "nothing":
                return None
            return {"type": "noted", "by": payload[0], "n": payload[1]}
        finally:
            if stream in self._inside and self._inside[stream] == me:  # no call: see Interrupted
                del self._inside[stream]

    def apply_event(self, payload: Any, state: Any) -> Any:
        return {"count": state["count"] + 1, "total": state["total"] + payload["n"]}


class DeferredStore(MemoryStore):
    """A MemoryStore written through the committer, late and unreliable when asked."""

    immediate = False

    def __init__(self, seed: int = 0, delay: float = 0.0, failures: float = 0.0) -> None:
        super().__init__()
        self._random = random.Random(seed)
        self.delay = delay
        self.failures = failures

    def append_batch(self, commits: Any) -> list[int | Exception]:
        if self.delay:
            time.sleep(self._random.random() * self.delay)
        results: list[int | Exception] = []
        broken: set[Any] = set()
        for commit in commits:
            chance = self._random.random()
            if chance < self.failures / 2:
                results.append(StoreUnavailable("made to fail", outcome_unknown=False))
            elif chance < self.failures:
                if self._random.random() < 0.5:
                    self._try_append(commit, broken)
                results.append(StoreUnavailable("made to fail", outcome_unknown=True))
            else:
                results.append(self._try_append(commit, broken))
        return results


def note(stream: str, by: int, n: int, **options: Any) -> Command:
    return Command(TYPE, stream, "note", [by, n], **options)


def noted(store: MemoryStore, stream: str) -> list[tuple[int, int]]:
    """Return (by, n) of a stream's events in order; the sequences must have no hole."""

    def collect(found: list[Any], event: Any) -> list[Any]:
        assert event.sequence == len(found) + 1, f"a hole in {stream} at {event.sequence}"
        found.append((event.payload["by"], event.payload["n"]))
        return found

    return store.fold((TYPE, stream), collect, [])


def check_states(kernel: Any, store: MemoryStore, streams: Iterable[str]) -> None:
    """Check that each state is the fold of its stream."""
    for stream in streams:
        events = noted(store, stream)
        state, sequence = kernel.state_of(TYPE, stream)
        assert sequence == len(events) == state["count"]
        assert state["total"] == sum(n for _, n in events)


def check_order(store: MemoryStore, streams: Iterable[str]) -> None:
    """Check that in every stream each thread's numbers rise."""
    for stream in streams:
        last: dict[int, int] = {}
        for by, n in noted(store, stream):
            assert n > last.get(by, -1), f"{stream}: {n} of {by} after {last[by]}"
            last[by] = n


def in_threads(number: int, work: Callable[[int], None], within: float) -> None:
    """Run `work(index)` on so many threads; raise its first error, or that one hangs."""
    errors: list[BaseException] = []

    def run(index: int) -> None:
        try:
            work(index)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(number)]
    deadline = time.monotonic() + within
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    if errors:
        raise errors[0]


def raise_in(thread_id: int, error: type[BaseException]) -> None:
    """Have an asynchronous exception raised in a thread."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), ctypes.py_object(error))
