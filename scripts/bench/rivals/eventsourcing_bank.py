"""The bank account in the library `eventsourcing`: an Aggregate, its Application, its cache."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate

from scripts.bench.accounts import Step

CACHED = {
    "PERSISTENCE_MODULE": "eventsourcing.popo",
    "AGGREGATE_CACHE_MAXSIZE": "1000",  # more than there are accounts
    "AGGREGATE_CACHE_FASTFORWARD": "n",  # nobody else writes, so no look for newer events
}
WITHOUT_COPIES = {**CACHED, "DEEPCOPY_FROM_AGGREGATE_CACHE": "n"}
"""Commands act on the cached object itself, which the library means for immutable aggregates."""


class InsufficientFundsError(Exception):
    """The account holds less than was asked."""


class Account(Aggregate):
    """The rules of `domains.bank_account`."""

    class Opened(Aggregate.Created):
        """The account exists."""

    class Deposited(Aggregate.Event):
        """Money came in."""

        amount: int

        def apply(self, aggregate: Account) -> None:
            """Add the amount."""
            aggregate.balance += self.amount

    class Withdrawn(Aggregate.Event):
        """Money went out."""

        amount: int

        def apply(self, aggregate: Account) -> None:
            """Subtract the amount."""
            aggregate.balance -= self.amount

    def __init__(self) -> None:
        self.balance = 0

    def deposit(self, amount: int) -> None:
        """Put money in."""
        _check(amount)
        self.trigger_event(self.Deposited, amount=amount)

    def withdraw(self, amount: int) -> None:
        """Take money out."""
        _check(amount)
        if amount > self.balance:
            raise InsufficientFundsError
        self.trigger_event(self.Withdrawn, amount=amount)


class Bank(Application[UUID]):
    """Opens accounts and carries out steps."""

    def open(self, funds: int) -> UUID:
        """Return the id of a new account."""
        account = Account()
        account.deposit(funds)
        self.save(account)
        return account.id

    def deposit(self, account_id: UUID, amount: int) -> None:
        """Put money into an account."""
        account: Account = self.repository.get(account_id)
        account.deposit(amount)
        self.save(account)

    def withdraw(self, account_id: UUID, amount: int) -> None:
        """Take money out of an account."""
        account: Account = self.repository.get(account_id)
        account.withdraw(amount)
        self.save(account)


def carry_out(bank: Bank, ids: dict[str, UUID], todo: Sequence[Step]) -> None:
    """Call the application once a step."""
    refused = 0
    for name, kind, amount in todo:
        try:
            if kind == "deposit":
                bank.deposit(ids[name], amount)
            else:
                bank.withdraw(ids[name], amount)
        except InsufficientFundsError:
            refused += 1
    assert not refused


def _check(amount: int) -> None:
    if type(amount) is not int or amount < 1:
        raise ValueError(amount)
