"""Quotes of the demos with many processes: threads that have options priced."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from eskernel import Command, Kernel
from eskernel.errors import KernelStopped
from eskernel.remote.front import Front

TYPE = "pricing"
BOOKS = tuple(f"book-{number}" for number in range(32))
CALLERS = 16
PUT = {"spot": 5000, "strike": 5000, "days": 152, "volatility": 0.4, "rate": 0.1}


def quotes(caller: int, name: str) -> Iterator[Command]:
    """Yield commands without end, each with an id of its own, for the caller's own books."""
    books = BOOKS[caller::CALLERS]
    for number in itertools.count():
        book = books[number % len(books)]
        put = {**PUT, "strike": 4500 + number % 1000}
        yield Command(TYPE, book, "quote", put, command_id=f"{name}-{caller}-{number}")


def quotes_a_second(kernel: Kernel | Front, count: int) -> float:
    """Have so many quotes made by all callers together; return the rate."""

    def call(caller: int) -> None:
        for command in itertools.islice(quotes(caller, "timed"), count // CALLERS):
            kernel.dispatch(command)

    with ThreadPoolExecutor(CALLERS) as callers:
        begun = time.monotonic()
        for done in [callers.submit(call, caller) for caller in range(CALLERS)]:
            done.result()
        return count / (time.monotonic() - begun)


class Quoting:
    """Callers that quote again and again, each as soon as its last quote is accepted.

    Args:
        kernel: takes the commands; each is dispatched once.

    Attributes:
        accepted: command ids, in no order.
        refused: what callers got instead; they go on, unless the kernel is stopped.
    """

    def __init__(self, kernel: Front) -> None:
        self._kernel = kernel
        self._over = threading.Event()
        # Every caller only appends to these, in one step.
        self.accepted: list[str] = []
        self.refused: list[Exception] = []
        self._seconds: list[float] = [0.0]
        self._threads = [
            threading.Thread(target=self._call, args=(caller,), daemon=True)
            for caller in range(CALLERS)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def longest(self) -> float:
        """The seconds the slowest took."""
        return max(self._seconds)

    def end(self) -> None:
        """Return when every caller has the answer to its last command."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _call(self, caller: int) -> None:
        for command in quotes(caller, "quote"):
            if self._over.is_set():
                return
            begun = time.monotonic()
            try:
                self._kernel.dispatch(command)
            except Exception as error:  # noqa: BLE001 - shown at the end of the demo
                self.refused.append(error)
                if isinstance(error, KernelStopped):
                    return
            else:
                self.accepted.append(str(command.command_id))
            self._seconds.append(time.monotonic() - begun)
