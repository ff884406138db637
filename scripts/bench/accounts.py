"""The load most measures share: deposits to and withdrawals from accounts, none refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from domains import bank_account
from eskernel import Command, Kernel
from eskernel.contracts import EventStore
from eskernel.errors import CommandRejected
from eskernel.remote.front import Front
from eskernel_stores import MemoryStore

TYPE = "bank_account"
LIVE = 100
DOMAINS = {TYPE: bank_account}
_FUNDS = 10**9
HOUR = 3600.0
"""Seconds; aggregates that no measure passivates."""

AnyKernel = Kernel | Front
"""In this process, or in front of others."""

Step = tuple[str, str, int]
"""Account, deposit or withdraw, amount: what a service reads from a request."""


def account(number: int) -> str:
    """Return the id of an account."""
    return f"acc-{number}"


def steps(count: int, accounts: int = LIVE, offset: int = 0, first: int = 0) -> list[Step]:
    """Return steps that visit the accounts in turn: a deposit each, then a withdrawal each.

    Args:
        count: how many steps.
        accounts: how many accounts.
        offset: where among the accounts to begin.
        first: the number of the first account.
    """
    kinds = (("deposit", 300), ("withdraw", 200))
    return [
        (account(first + (offset + index) % accounts), *kinds[index // accounts % 2])
        for index in range(count)
    ]


def command_of(step: Step) -> Command:
    """Return the command of a step."""
    aggregate_id, kind, amount = step
    return Command(TYPE, aggregate_id, kind, {"amount": amount})


def dispatch_steps(kernel: AnyKernel, todo: Sequence[Step]) -> None:
    """Do as a service does for each request: make a command, dispatch it, mind a refusal."""
    refused = 0
    for aggregate_id, kind, amount in todo:
        try:
            kernel.dispatch(Command(TYPE, aggregate_id, kind, {"amount": amount}))
        except CommandRejected:
            refused += 1
    assert not refused


@contextmanager
def running(accounts: int = LIVE, store: EventStore | None = None) -> Iterator[Kernel]:
    """Run a kernel whose accounts are live, funded, and stay live."""
    store = MemoryStore() if store is None else store
    with Kernel(DOMAINS, store, passivation_timeout=HOUR) as kernel:
        fund(kernel, accounts)
        yield kernel


def fund(kernel: AnyKernel, accounts: int) -> None:
    """Have so many accounts live, with enough in them."""
    for number in range(accounts):
        kernel.dispatch(Command(TYPE, account(number), "deposit", {"amount": _FUNDS}))
