"""Each account's last deposit in a table: a projection that does one upsert an event."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from sqlalchemy import BigInteger, Column, MetaData, String, Table

from eskernel import Event

Row = tuple[str, int, int]
"""Account, amount, position."""


def last_deposits(number: int) -> Any:
    """Return the projection, as a module.

    Args:
        number: tells its table from those of other runs in the same database.
    """
    table = Table(
        f"last_deposits_{number}",
        MetaData(),
        Column("account", String, primary_key=True),
        Column("amount", BigInteger, nullable=False),
        Column("position", BigInteger, nullable=False),
    )

    def handle_event(event: Event, connection: Any) -> None:
        values = {
            "account": event.stream_id[1],
            "amount": event.payload["amount"],
            "position": event.position,
        }
        connection.upsert(connection.tables[table.name], values)

    return SimpleNamespace(
        version=1,
        tables=(table,),
        aggregate_types={"bank_account"},
        handle_event=handle_event,
    )
