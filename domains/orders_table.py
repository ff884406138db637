"""Orders in a table, one row an order: a projection for whoever asks with SQL.

Amounts are whole minor units (cents), which every database adds exactly.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Index, MetaData, String, Table, Update, bindparam, update

from domains.order import LineAdded, Placed
from eskernel import Event, TableConnection

orders = Table(
    "orders",
    MetaData(),
    Column("order_id", String, primary_key=True),
    Column("customer", String, nullable=False),
    Column("status", String, nullable=False),
    Column("total", BigInteger, nullable=False),  # cents
    Column("placed_at", BigInteger, nullable=False),  # Unix milliseconds
    Column("changed_at", BigInteger, nullable=False),  # likewise
    Index("orders_by_customer", "customer", "placed_at"),
)

version = 1
tables = (orders,)
aggregate_types = {"order"}


def handle_event(event: Event, connection: TableConnection) -> None:
    table = connection.tables.orders
    changed = {"order_id": event.stream_id[1], "changed_at": event.timestamp}
    match event.payload:
        case Placed(customer):
            new = {"customer": customer, "total": 0, "placed_at": event.timestamp}
            connection.upsert(table, {**changed, **new, "status": "placed"})
        case LineAdded(_, quantity, price):
            cents = int(quantity * price * 100)
            added = {"order": event.stream_id[1], "cents": cents, "at": event.timestamp}
            connection.write(connection.prepared(_adding), added)
        case other:  # Paid, Shipped, Cancelled: statuses are named after events
            connection.update(table, {**changed, "status": type(other).__name__.lower()})


def _adding(tables: Any) -> Update:
    table = tables.orders
    return (
        update(table)
        .where(table.c.order_id == bindparam("order"))
        .values(total=table.c.total + bindparam("cents"), changed_at=bindparam("at"))
    )
