"""The demo's steps with projections: a balance in memory and a table of orders follow the log."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from demo_checks import check, dispatch, wait_until
from demo_screen import block, heading, progress

from domains import account_balances, bank_account, order, orders_table
from eskernel import Command, Event, Kernel
from eskernel.contracts import EventStore
from eskernel_stores import open_store

ACCOUNT = ("bank_account", "acc-1")
TEA = {"sku": "tea", "quantity": 2, "price": Decimal("4.50")}

ORDERS = 2_500
"""Orders that come in while no projection runs."""
PATIENCE = 60.0
"""Seconds that thousands of events may take on a slow disk."""
LOOK = 0.02
"""Seconds between two looks at a rebuild."""

FIRST = "SELECT order_id, customer, status, total FROM orders ORDER BY order_id"
ALL = "SELECT status, count(*), sum(total) FROM orders GROUP BY status ORDER BY status"


class Counted:
    """A projection that notes which positions it has handled.

    Args:
        module: the projection.
    """

    def __init__(self, module: ModuleType) -> None:
        self.handled: list[int | None] = []
        self.module = SimpleNamespace(
            **{**vars(module), "handle_event": partial(self._handle_event, module)}
        )

    def _handle_event(self, module: ModuleType, event: Event, target: Any) -> Any:
        self.handled.append(event.position)
        return module.handle_event(event, target)


class Running:
    """A kernel with both projections, each counted from this start on.

    Args:
        store: with the events, and what the projections make of them.
    """

    def __init__(self, store: EventStore) -> None:
        self.store = store
        self.balances, self.orders = Counted(account_balances), Counted(orders_table)
        self.kernel = Kernel(
            {"bank_account": bank_account, "order": order},
            store,
            projections={"balances": self.balances.module, "orders": self.orders.module},
        )

    def catch_up(self) -> None:
        """Wait until both projections have seen everything."""
        for name in ("balances", "orders"):
            self.kernel.projection(name).wait_for(self.store.last_position(), PATIENCE)


def show_read_side(database: Path) -> None:
    """Run the steps on the database that the write side leaves.

    Args:
        database: the file; an account has five events there, worth 100.
    """
    with closing(open_store(f"sqlite:///{database}")) as store:
        running = Running(store)
        with running.kernel:
            begin(running)
            follow(running)
            sell(running, database)
        trade(store)
        running = Running(store)
        with running.kernel:
            resume(running, database)
            rebuild(running, database)
            audit(running)


# The steps.


def begin(running: Running) -> None:
    heading("Start a kernel with two projections: they begin with what is stored")
    running.catch_up()
    block(str(running.kernel.tree()))
    check("balances", running.kernel.projection("balances").state, {"acc-1": 100})
    check("events handled for it", len(running.balances.handled), 5)


def follow(running: Running) -> None:
    heading("Deposit 30, and return when the balance has followed")
    command = Command(*ACCOUNT, "deposit", {"amount": 30})
    done = dispatch(running.kernel, command, wait_for=("balances",))
    balances = running.kernel.projection("balances")
    check("balances", balances.state, {"acc-1": 130})
    check("position", balances.position, done.position)


def sell(running: Running, database: Path) -> None:
    heading("Sell tea: a table in the same file, for every tool that speaks SQL")
    for command in purchase("o-1", "ada"):
        dispatch(running.kernel, command, wait_for=("orders",))
    block(FIRST)
    check("rows", query(database, FIRST), ["o-1|ada|paid|900"])


def trade(store: EventStore) -> None:
    heading(f"Stop, and let {ORDERS} orders come in while no projection runs")
    before = store.last_position()
    with Kernel({"order": order}, store) as kernel:
        futures = [
            kernel.submit(command)
            for number in range(ORDERS)
            for command in (*purchase(f"o-{number + 2}", "bob"), ship(f"o-{number + 2}"))
        ]
        for future in futures:
            future.result(PATIENCE)
    check("events stored meanwhile", store.last_position() - before, 4 * ORDERS)


def resume(running: Running, database: Path) -> None:
    heading("Start again: each projection goes on where it was")
    running.catch_up()
    check("events handled for the orders", len(running.orders.handled), 4 * ORDERS)
    check("events handled for the balances", len(running.balances.handled), 0)
    check("balances", running.kernel.projection("balances").state, {"acc-1": 130})
    block(ALL)
    check("rows", query(database, ALL), ["paid|1|900", f"shipped|{ORDERS}|{900 * ORDERS}"])


def rebuild(running: Running, database: Path) -> None:
    heading("Build the table anew from the log, while the old one serves")
    running.orders.handled.clear()
    before = query(database, ALL)
    running.kernel.projection("orders").rebuild()
    seen = [query(database, ALL) for _ in progress(shares_done(running))]
    check("events handled again", len(running.orders.handled), 4 * ORDERS + 3)
    check("whoever asked meanwhile got all rows", all(rows == before for rows in seen), True)
    check("rows", query(database, ALL), before)


def audit(running: Running) -> None:
    heading("Audit: was each event handled, once, in order?")
    found = running.kernel.audit("orders", full=True)
    check("events in the log", found.events, 4 * ORDERS + 3)
    check("missing", found.missing, ())
    check("doubled", found.doubled, ())
    check("each handled once, in order", found.complete, True)


# What they share.


def purchase(order_id: str, customer: str) -> list[Command]:
    """Return what it takes to buy tea."""
    return [
        Command("order", order_id, "place", {"customer": customer}),
        Command("order", order_id, "add_line", TEA),
        Command("order", order_id, "pay", {"amount": Decimal("9.00")}),
    ]


def ship(order_id: str) -> Command:
    """Return the command that ends an order."""
    return Command("order", order_id, "ship")


def query(database: Path, statement: str) -> list[str]:
    """Ask as any other program would: with SQL, and a connection of its own."""
    with closing(sqlite3.connect(database)) as connection:
        return ["|".join(map(str, row)) for row in connection.execute(statement)]


def shares_done(running: Running) -> Iterator[float]:
    """Look at the orders' rebuild now and then, until it is done; yield its share, 0 to 1."""
    orders = running.kernel.projection("orders")
    wait_until("the rebuild has begun", lambda: orders.rebuilding is not None)
    while (under_way := orders.rebuilding) is not None:
        if under_way.error is not None:
            raise under_way.error
        yield under_way.share
        time.sleep(LOOK)
    yield 1.0
