from decimal import Decimal

import pytest
from sqlalchemy import select

from domains import orders_table
from domains.order import Cancelled, LineAdded, Paid, Placed, Shipped
from eskernel import Event
from eskernel.projections import Definition
from eskernel.projections.progress import Progress
from eskernel.projections.tables import TableModel
from eskernel.values import SERVING

PENS = LineAdded("pen", 2, Decimal("1.50"))
INK = LineAdded("ink", 3, Decimal("0.10"))


@pytest.fixture
def rows_after(sqlite_url, open_sql):
    """Returns the table's rows after some events, `(order id, payload)`, at 1, 2, 3, ... ms."""
    store = open_sql(sqlite_url)
    model = TableModel(Definition("orders", orders_table), store, "projection/orders")

    def rows_after(*facts):
        model.begin(SERVING, Progress(0, "1"))
        for at, (order, payload) in enumerate(facts, 1):
            kind = type(payload).__name__
            model.handle(SERVING, iter([Event(("order", order), at, kind, payload, timestamp=at)]))
        model.commit(SERVING, Progress(len(facts), "1"), 1)
        table = orders_table.orders
        with store.table_transaction(5) as lent:
            found = lent.connection.execute(select(table).order_by(table.c.order_id)).all()
        return [tuple(row) for row in found]

    return rows_after


def test_it_is_a_projection_of_orders():
    found = Definition("orders", orders_table)
    assert (found.aggregate_types, found.version) == ({"order"}, "1")


def test_an_order_is_a_row_from_its_placing_on(rows_after):
    assert rows_after(("o-1", Placed("ada")), ("o-2", Placed("bob"))) == [
        ("o-1", "ada", "placed", 0, 1, 1),
        ("o-2", "bob", "placed", 0, 2, 2),
    ]


def test_its_total_is_the_sum_of_its_lines_in_cents(rows_after):
    assert rows_after(
        ("o-1", Placed("ada")), ("o-2", Placed("bob")), ("o-1", PENS), ("o-1", INK), ("o-2", INK)
    ) == [("o-1", "ada", "placed", 330, 1, 4), ("o-2", "bob", "placed", 30, 2, 5)]


@pytest.mark.parametrize(
    ("payload", "status"),
    [
        (Paid(Decimal("3.00")), "paid"),
        (Shipped(), "shipped"),
        (Cancelled(Decimal("0.00")), "cancelled"),
    ],
)
def test_its_status_is_what_happened_last(rows_after, payload, status):
    rows = rows_after(("o-1", Placed("ada")), ("o-1", PENS), ("o-1", payload))
    assert rows == [("o-1", "ada", status, 300, 1, 3)]
