"""The bank account in the library `eventsourcing`: an Aggregate, its Application, its cache."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate

from scripts.bench.accounts import Step, account
from scripts.bench.callers import shares_apart, threads_load
from scripts.bench.timing import Load

_AT_ONCE = 10_000
CACHED = {
    "PERSISTENCE_MODULE": "eventsourcing.popo",
    "AGGREGATE_CACHE_MAXSIZE": "1000",  # more than there are accounts
    "AGGREGATE_CACHE_FASTFORWARD": "n",  # nobody else writes, so no look for newer events
}
WITHOUT_COPIES = {**CACHED, "DEEPCOPY_FROM_AGGREGATE_CACHE": "n"}
"""Commands act on the cached object itself, which the library means for immutable aggregates."""


def on_sqlite(path: Path, cached: bool = True) -> dict[str, str]:
    """Return the settings for a database file; the library gives it a write-ahead log."""
    place = {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(path)}
    return {**CACHED, **place} if cached else place


def on_postgresql(port: int, functions: bool = False) -> dict[str, str]:
    """Return the settings for the bench's server, with a connection for each of many threads.

    Args:
        port: the server's.
        functions: insert by the library's database function, which is faster because it does not
            lock the table; readers of the log may then miss events, as the library's own comment
            on that lock explains.
    """
    return {
        **CACHED,
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": "postgres",
        "POSTGRES_HOST": "127.0.0.1",
        "POSTGRES_PORT": str(port),
        "POSTGRES_USER": "postgres",
        "POSTGRES_PASSWORD": "x",  # the server asks for none
        "POSTGRES_POOL_SIZE": "16",
        "POSTGRES_MAX_OVERFLOW": "64",
        "POSTGRES_ENABLE_DB_FUNCTIONS": "y" if functions else "n",
    }


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

    def open_with(self, deposits: int) -> UUID:
        """Return the id of a new account after so many deposits."""
        account = Account()
        for number in range(deposits):
            account.deposit(300)
            if number % _AT_ONCE == 0:
                self.save(account)
        self.save(account)
        return account.id

    def balance(self, account_id: UUID) -> int:
        """Return what an account holds."""
        account: Account = self.repository.get(account_id)
        return account.balance

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


def open_accounts(bank: Bank, count: int) -> dict[str, UUID]:
    """Open accounts with ample funds and return their ids by the names that steps use."""
    return {account(number): bank.open(10**9) for number in range(count)}


def bank_load(bank: Bank, ids: dict[str, UUID], callers: int, count: int) -> Load:
    """Return a load of `count` steps shared by so many threads, each on accounts of its own."""
    shares = shares_apart(callers, count)
    return threads_load([partial(carry_out, bank, ids, share) for share in shares], shares)


def _check(amount: int) -> None:
    if type(amount) is not int or amount < 1:
        raise ValueError(amount)
