"""One of the cluster demo's kernels, in a process of its own, and how the demo talks to it.

`KernelProcess` starts it. It is this file, run with a store's URL; it reads requests, one JSON list
a line, and answers each with one line of JSON.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import structlog
from demo_cluster_deposits import Depositor, deposit

from domains import account_balances, bank_account
from eskernel import Kernel
from eskernel.errors import EskernelError
from eskernel_stores import open_store

IDLE = 0.75
"""Seconds after which an idle account leaves memory."""
PATIENCE = 60.0
"""Seconds the projection may take to follow."""


class KernelFailed(Exception):
    """The process could not do what it was asked; the message says why."""


class KernelProcess:
    """A kernel of the demo, as seen from the demo.

    Args:
        name: for whoever watches.
        url: of the store.
    """

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, __file__, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ask(self, *request: Any) -> Any:
        """Have it do something and return its answer.

        Raises:
            KernelFailed: it cannot, or has ended.
        """
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
            answer = self._process.stdout.readline() if self._process.stdout else ""
        except BrokenPipeError:
            answer = ""
        if not answer:
            said = self._process.communicate()[1].splitlines() or ["nothing said"]
            raise KernelFailed(f"{self.name} ended with {self._process.returncode}: {said[-1]}")
        kind, value = json.loads(answer)
        if kind == "failed":
            raise KernelFailed(f"{self.name}: {value}")
        return value

    def close(self) -> None:
        """End it, at once if it does not end by itself."""
        try:
            self._process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()


class Answers:
    """What the process can be asked; a method for each kind of request.

    Args:
        kernel: of this process.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._depositor: Depositor | None = None

    def deposit(self, account: str, amount: int) -> int:
        """Deposit, and return the event's sequence."""
        return deposit(self._kernel, account, amount)[0].sequence

    def begin(self, *accounts: str) -> None:
        """Begin to deposit again and again."""
        self._depositor = Depositor(self._kernel, list(accounts))

    def report(self) -> Any:
        """Tell how that goes."""
        assert self._depositor is not None
        return self._depositor.report()

    def end(self) -> Any:
        """End it, and tell how it went."""
        assert self._depositor is not None
        self._depositor.end()
        return self._depositor.report()

    def live(self) -> int:
        """Tell how many accounts are in memory."""
        return len(self._kernel.live_aggregates())

    def balances(self, *accounts: str) -> dict[str, int]:
        """Return what the kernel takes the balances for."""
        return {
            account: self._kernel.state_of("bank_account", account)[0]["balance"]
            for account in accounts
        }

    def projected(self, position: int) -> dict[str, int]:
        """Return the projection's balances when it has seen a position."""
        projection = self._kernel.projection("balances")
        projection.wait_for(position, PATIENCE)
        return dict(projection.state)


def serve(url: str) -> None:
    """Answer requests until there are no more."""
    store = open_store(url)
    try:
        with Kernel(
            {"bank_account": bank_account},
            store,
            passivation_timeout=IDLE,
            projections={"balances": account_balances},
        ) as kernel:
            answers = Answers(kernel)
            for line in sys.stdin:
                name, *arguments = json.loads(line)
                print(json.dumps(answered(getattr(answers, name), arguments)), flush=True)
    finally:
        store.close()


def answered(method: Callable[..., Any], arguments: list[Any]) -> tuple[str, Any]:
    """Return what a method returns, or how it failed, for the other side."""
    try:
        return "done", method(*arguments)
    except (EskernelError, AssertionError) as error:
        return "failed", f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    serve(sys.argv[1])
