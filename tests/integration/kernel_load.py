"""A load of commands for kernels whose servers fail, and what must be there in the end."""

from __future__ import annotations

import threading
from collections import Counter
from functools import partial
from typing import Any

from kernel_helpers import TYPE, add, attempt
from store_helpers import log
from support import eventually

from eskernel import Event, Kernel
from eskernel.errors import AggregateCrashed, DispatchTimeout, StoreUnavailable

_PATIENCE = 40.0
"""Seconds for one command with all its repetitions; servers elect a leader within ten."""
_WHILE_DOWN = (StoreUnavailable, DispatchTimeout, AggregateCrashed)


class Load:
    """Threads that add numbers to a few aggregates until they are stopped.

    A command that fails is sent again with its id until it is accepted, so that in the end each
    number must be stored, once.

    Args:
        kernel: takes the commands.
        threads: how many.
    """

    def __init__(self, kernel: Kernel, threads: int = 4) -> None:
        self._kernel = kernel
        self._over = threading.Event()
        self._accepted: list[int] = []  # appended to by all threads, which is atomic
        self.errors: list[Exception] = []  # the same
        self._threads = [
            threading.Thread(target=self._run, args=(index,), daemon=True)
            for index in range(threads)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        self.go_on()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(_PATIENCE)

    def go_on(self, more: int = 40) -> None:
        """Return when so many more commands have been accepted."""
        wanted = len(self._accepted) + more
        eventually(lambda: len(self._accepted) >= wanted, timeout=_PATIENCE)

    def check(self, *stores: Any) -> None:
        """Every number accepted is in the log, once, and nothing else; only outages were met."""
        assert not any(thread.is_alive() for thread in self._threads)
        assert [error for error in self.errors if not isinstance(error, _WHILE_DOWN)] == []
        accepted = Counter(self._accepted)
        for store in stores:
            events = eventually(partial(_log, store), timeout=_PATIENCE)
            found = Counter(e.payload["n"] for e in events if e.stream_id[0] == TYPE)
            lost, unasked = accepted - found, found - accepted
            assert (lost, unasked) == (Counter(), Counter()), store

    def _run(self, index: int) -> None:
        number = 0
        while not self._over.is_set():
            number += 1
            value = 10**6 * index + number
            command = add(f"of {number % 3}", value, command_id=f"c-{value}")
            eventually(lambda command=command: self._is_accepted(command), timeout=_PATIENCE)
            self._accepted.append(value)

    def _is_accepted(self, command: Any) -> bool:
        outcome = attempt(self._kernel.dispatch, command)
        if isinstance(outcome, Exception):
            self.errors.append(outcome)
        return not isinstance(outcome, Exception)


def _log(store: Any) -> list[Event] | None:
    """Return the log; None while servers that have just met again elect another leader."""
    found = attempt(log, store)
    if not isinstance(found, list | StoreUnavailable):
        raise found
    return found if isinstance(found, list) else None
