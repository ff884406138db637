"""Balances as a projection of the library `eventsourcing`, run by its ProjectionRunner.

The library's SQLite recorder has no subscriptions, which its runner needs. Here it gets the one
that its recorders in memory and in PostgreSQL have, which reads pages of 500 on a thread of its
own. There are two views. One, in a SQLite file, changes a balance and the position in one commit an
event, as the library's documentation has it; the other, in memory, begins anew at each start.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import UUID

from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.persistence import ListenNotifySubscription, Subscription, Tracking
from eventsourcing.popo import POPOTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteTrackingRecorder

from scripts.bench.rivals.eventsourcing_bank import Account, Bank, on_sqlite

_PATIENCE = 60.0
_NAME = "balances"
_UPSERT = """
INSERT INTO balances VALUES (?, ?)
ON CONFLICT (account) DO UPDATE SET balance = balance + excluded.balance
"""


class SubscribableRecorder(SQLiteApplicationRecorder):
    """The library's recorder in a SQLite file, with the library's subscription."""

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> Subscription[Any]:
        """Return an iterator over the recorded events."""
        return ListenNotifySubscription(self, gt=gt, topics=topics)


class MemoryBalances(POPOTrackingRecorder):
    """Balances in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self._balances: dict[UUID, int] = {}

    def add(self, account_id: UUID, amount: int, tracking: Tracking) -> None:
        """Change a balance and note the position, both or none."""
        with self._database_lock:
            self._assert_tracking_uniqueness(tracking)
            self._balances[account_id] = self._balances.get(account_id, 0) + amount
            self._insert_tracking(tracking)

    def total(self) -> int:
        """Return the sum of all balances."""
        return sum(self._balances.values())


class StoredBalances(SQLiteTrackingRecorder):
    """Balances in a table."""

    def construct_create_table_statements(self) -> list[str]:
        """Return what makes the tables."""
        table = "CREATE TABLE IF NOT EXISTS balances (account TEXT PRIMARY KEY, balance INTEGER)"
        return [*super().construct_create_table_statements(), table]

    def add(self, account_id: UUID, amount: int, tracking: Tracking) -> None:
        """Change a balance and note the position, both or none."""
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(_UPSERT, (account_id.hex, amount))

    def total(self) -> int:
        """Return the sum of all balances."""
        with self.datastore.transaction(commit=False) as cursor:
            cursor.execute("SELECT sum(balance) FROM balances")
            return int(cursor.fetchone()[0])


class BalancesProjection(Projection[Any]):
    """What is done for each event."""

    name = _NAME

    def __init__(self, view: Any) -> None:
        super().__init__(view)
        self.last = 0
        self.complete = threading.Event()

    @singledispatchmethod
    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        """Note that an event was seen that changes no balance."""
        self._add(domain_event.originator_id, 0, tracking)

    @process_event.register
    def _(self, domain_event: Account.Deposited, tracking: Tracking) -> None:
        self._add(domain_event.originator_id, domain_event.amount, tracking)

    def _add(self, account_id: UUID, amount: int, tracking: Tracking) -> None:
        self.view.add(account_id, amount, tracking)
        if tracking.notification_id == self.last:
            self.complete.set()


def fill_bank(path: Path, length: int, accounts: int) -> int:
    """Store deposits to some accounts, in a file of the library's own.

    Returns:
        The position of the last event: there is one more for each account.
    """
    bank = Bank(on_sqlite(path, cached=False))
    for _ in range(accounts):
        bank.open_with(length // accounts)
    last = bank.recorder.max_notification_id() or 0
    bank.close()
    return last


def time_projection(path: Path, last: int, total: int, view_path: Path | None = None) -> float:
    """Return the seconds from the runner's start until a new projection has seen every event.

    Args:
        path: the file with the events.
        last: the position of the last.
        total: what all balances must come to.
        view_path: a new file for the view; None for the one in memory.
    """
    where = {f"{_NAME.upper()}_PERSISTENCE_MODULE": "eventsourcing.popo"}
    if view_path is not None:
        where = {f"{_NAME.upper()}_SQLITE_DBNAME": str(view_path)}
    recorder = f"{__name__}:{SubscribableRecorder.__qualname__}"
    env = {**on_sqlite(path, cached=False), "APPLICATION_RECORDER_TOPIC": recorder, **where}
    view_class: Any = MemoryBalances if view_path is None else StoredBalances
    start = perf_counter()
    with ProjectionRunner(
        application_class=Bank,
        projection_class=BalancesProjection,
        view_class=view_class,
        env=env,
    ) as runner:
        projection = runner.projection
        projection.last = last
        if not runner.view.has_tracking_id(Bank.name, last):
            assert projection.complete.wait(_PATIENCE), "the library's projection takes too long"
        taken = perf_counter() - start
        assert runner.view.total() == total, "the library's projection is wrong"
    return taken
