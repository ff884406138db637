"""Deposits of the cluster demo: each is sent until it is accepted, and counted once."""

from __future__ import annotations

import random
import threading
import time
import uuid
from typing import Any

from eskernel import Accepted, Command, Kernel
from eskernel.errors import EskernelError

PATIENCE = 60.0
"""Seconds for one deposit with all its repetitions."""
PAUSE = 0.02
"""Seconds between two tries."""
THREADS = 2


class Depositor:
    """Deposits 1 again and again, on several threads, into accounts that others use too.

    Args:
        kernel: takes the commands.
        accounts: ids.
    """

    def __init__(self, kernel: Kernel, accounts: list[str]) -> None:
        self._kernel, self._accounts = kernel, accounts
        self._over = threading.Event()
        self._lock = threading.Lock()
        # Guarded by the lock: every thread changes them.
        self.accepted, self.repeated, self.longest = 0, 0, 0.0
        self.error: Exception | None = None
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(THREADS)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Return when every deposit begun has been accepted."""
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def report(self) -> dict[str, Any]:
        """Return how it goes: numbers of deposits, and the seconds the slowest took."""
        with self._lock:
            if self.error is not None:
                raise self.error
            return {
                "accepted": self.accepted,
                "repeated": self.repeated,
                "longest": self.longest,
            }

    def _run(self) -> None:
        chosen = random.Random()
        try:
            while not self._over.is_set():
                begun = time.monotonic()
                _, repeated = deposit(self._kernel, chosen.choice(self._accounts), 1)
                with self._lock:
                    self.accepted += 1
                    self.repeated += repeated > 0
                    self.longest = max(self.longest, time.monotonic() - begun)
        except Exception as error:  # noqa: BLE001 - told to whoever asks for the report
            with self._lock:
                self.error = error


def deposit(kernel: Kernel, account: str, amount: int) -> tuple[Accepted, int]:
    """Deposit, again with the same command id as long as the store is away or others are first.

    Returns:
        What was accepted, and how often the command was sent again.
    """
    command = Command(
        "bank_account", account, "deposit", {"amount": amount}, command_id=uuid.uuid4().hex
    )
    repeated, deadline = 0, time.monotonic() + PATIENCE
    while True:
        try:
            return kernel.dispatch(command), repeated
        except EskernelError:
            if time.monotonic() > deadline:
                raise
            repeated += 1
            time.sleep(PAUSE)
