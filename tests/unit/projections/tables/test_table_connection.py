"""What a handler can do, on SQLite; every test is one page of events."""

from datetime import UTC, datetime
from enum import Enum as Choice
from types import SimpleNamespace

import pytest
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Enum,
    LargeBinary,
    MetaData,
    String,
    Table,
    alias,
    bindparam,
    delete,
    event,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError, InvalidRequestError, StatementError

from eskernel.errors import InvalidProjection
from eskernel.projections.definition import Definition
from eskernel.projections.progress import Progress
from eskernel.projections.tables import TableModel
from eskernel.values import SERVING, Event

ONE = Event(("order", "o-1"), 1, "placed", None, position=1)


class Status(Choice):
    NEW = "new"


orders = Table(
    "orders",
    MetaData(),
    Column("id", String, primary_key=True),
    Column("line", BigInteger, primary_key=True, default=0),
    Column("amount", BigInteger, nullable=False, server_default="7"),
    Column("note", String, default=lambda: "by default"),
)
facts = Table(
    "facts",
    MetaData(),
    Column("id", BigInteger, primary_key=True),
    Column("at", DateTime),
    Column("good", Boolean),
    Column("what", JSON),
    Column("raw", LargeBinary),
    Column("status", Enum(Status, native_enum=False)),
)
ROW = {"id": "a", "line": 1, "amount": 1, "note": "n"}


class Page:
    """Runs functions as handlers, and tells what is in the table and what was sent."""

    def __init__(self, store):
        self.store = store
        self.sent = []
        self.work = None
        module = SimpleNamespace(
            tables=(orders, facts), handle_event=lambda _, connection: self.work(connection)
        )
        self.model = TableModel(Definition("orders", module), store, "projection/orders")
        self.model.begin(SERVING, Progress(0, "1"))
        self.model.commit(SERVING, Progress(0, "1"), 1)
        event.listen(store._backend.engine, "before_cursor_execute", self._note)

    def _note(self, connection, cursor, statement, parameters, context, executemany):
        if "orders" in statement or "facts" in statement:
            self.sent.append(statement.split()[0])

    def run(self, *handlers):
        for handler in handlers:
            self.work = handler
            self.model.handle(SERVING, iter([ONE]))
        self.model.commit(SERVING, Progress(1, "1"), 1)
        return self.rows()

    def rows(self, table=orders):
        with self.store._database.connect() as connection:
            return [tuple(row) for row in connection.execute(select(table).order_by(table.c.id))]


@pytest.fixture
def page(sqlite_url, open_sql):
    return Page(open_sql(sqlite_url))


def test_tables_are_found_by_their_declared_names(page):
    def handler(connection):
        tables = connection.tables
        assert tables.orders is tables["orders"] is not orders
        assert ([*tables], len(tables)) == (["orders", "facts"], 2)
        with pytest.raises(KeyError, match="no table 'lines' is declared, only orders, facts"):
            tables["lines"]
        with pytest.raises(AttributeError, match="no table 'lines'"):
            tables.lines

    page.run(handler)


def test_an_upsert_inserts_a_row_or_updates_the_one_with_its_key(page):
    def handler(connection):
        table = connection.tables.orders
        connection.upsert(table, ROW)
        connection.upsert(table, {**ROW, "amount": 2})
        connection.upsert(table, {"line": 1, "id": "a", "note": "m"})
        connection.upsert(table, {"id": "b", "line": 1})
        connection.upsert(table, {"id": "b", "line": 1})

    assert page.run(handler) == [("a", 1, 2, "m"), ("b", 1, 7, "by default")]


def test_an_update_and_a_deletion_find_their_row_by_its_key(page):
    def handler(connection):
        table = connection.tables.orders
        for name in "abc":
            connection.upsert(table, {**ROW, "id": name})
        connection.update(table, {"id": "a", "line": 1, "amount": 5})
        connection.update(table, {"line": 1, "note": "z", "id": "b"})
        connection.update(table, {"id": "nobody", "line": 1, "amount": 5})
        connection.delete(table, {"line": 1, "id": "c"})

    assert page.run(handler) == [("a", 1, 5, "n"), ("b", 1, 1, "z")]


def test_rows_for_the_same_statement_are_sent_together_across_events(page):
    def handler(connection):
        for number in range(300):
            connection.upsert(connection.tables.orders, {**ROW, "line": number})

    assert len(page.run(handler, handler)) == 300
    # Of 256, 256, 32 and 32 rows, and one for each of 24; then the test looks.
    assert page.sent == [*["INSERT"] * 5, "SELECT"]


def test_effects_come_in_the_order_of_the_program(page):
    def handler(connection):
        table = connection.tables.orders
        amount = select(table.c.amount).where(table.c.id == "a")
        add = connection.prepared(adding)
        connection.upsert(table, ROW)
        connection.write(add, {"key": "a"})
        connection.write(add, {"key": "a"})
        assert connection.execute(amount).scalar_one() == 3
        connection.write(add, {"key": "a"})
        connection.upsert(table, {**ROW, "amount": 100})
        connection.write(add, {"key": "a"})
        connection.write(update(table).values(amount=table.c.amount * 2))
        connection.write(add, {"key": "a"})
        connection.delete(table, {"id": "a", "line": 1})
        connection.upsert(table, {**ROW, "amount": connection_amount(connection, table)})

    def connection_amount(connection, table):
        return connection.execute(select(func.count()).select_from(table)).scalar_one()

    assert page.run(handler) == [("a", 1, 0, "n")]


def adding(tables):
    table = tables.orders
    return (
        update(table)
        .where(table.c.id == bindparam("key"))
        .values(amount=table.c.amount + 1, note="added")
    )


def test_a_statement_is_built_once(page):
    built = []

    def build(tables):
        built.append(tables)
        return adding(tables)

    def handler(connection):
        assert connection.prepared(build) is connection.prepared(build)

    page.run(handler, handler)
    assert len(built) == 1


def test_values_go_through_their_columns_types(page):
    at = datetime(2026, 1, 2, 3, 4, 5, 6)
    row = {"id": 1, "at": at, "good": True, "what": {"a": [1]}, "raw": b"\0", "status": Status.NEW}

    def handler(connection):
        table = connection.tables.facts
        connection.upsert(table, row)
        connection.write(insert(table), {**row, "id": 2})
        connection.update(table, {"id": 2, "good": False, "what": [None]})
        assert len(connection.execute(select(table).where(table.c.good)).all()) == 1

    page.run(handler)
    first, second = page.rows(facts)
    assert first == (1, at, True, {"a": [1]}, b"\0", Status.NEW)
    assert second == (2, at, False, [None], b"\0", Status.NEW)


def test_defaults_of_python_and_lists_of_any_length_are_filled_in(page):
    def handler(connection):
        table = connection.tables.orders
        connection.write(insert(table), {"id": "a"})
        connection.write(insert(table), {"id": "b"})
        connection.write(insert(table), {"id": "c", "note": "given"})
        gone = delete(table).where(table.c.id.in_(bindparam("ids", expanding=True)))
        connection.write(gone, {"ids": ["b", "x"]})
        connection.write(gone, {"ids": []})

    assert page.run(handler) == [("a", 0, 7, "by default"), ("c", 0, 7, "given")]


def test_parameters_may_be_changed_after_they_were_handed_over(page):
    def handler(connection):
        row = dict(ROW)
        for row["line"] in range(3):
            connection.upsert(connection.tables.orders, row)

    assert [line for _, line, *_ in page.run(handler)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("method", "values", "complaint"),
    [
        ("upsert", {"id": "a"}, r"lack its primary key's \['line'\]"),
        ("upsert", {**ROW, "colour": 1}, "has no column 'colour'"),
        ("update", {"id": "a", "line": 1}, "needs a column beside its key"),
        ("delete", ROW, "takes its key"),
    ],
)
def test_columns_that_do_not_fit_are_refused_at_once(page, method, values, complaint):
    def handler(connection):
        getattr(connection, method)(connection.tables.orders, values)

    with pytest.raises(ValueError, match=complaint):
        page.run(handler)


def test_a_table_without_a_primary_key_has_no_upsert(page):
    def handler(connection):
        connection.upsert(Table("loose", MetaData(), Column("id", String)), {"id": "a"})

    with pytest.raises(ValueError, match="loose has no primary key"):
        page.run(handler)


def test_as_many_parameters_with_other_names_are_another_row(page):
    def handler(connection):
        table = connection.tables.orders
        add = connection.prepared(adding)
        connection.upsert(table, {"id": "a", "line": 1, "amount": 5})
        connection.upsert(table, {"id": "a", "line": 1, "note": "x"})
        connection.write(add, {"key": "a"})
        with pytest.raises(InvalidRequestError, match="key"):
            connection.write(add, {"keys": "a"})

    assert page.run(handler) == [("a", 1, 6, "added")]


@pytest.mark.parametrize(
    "make",
    [
        lambda: insert(orders).values(ROW),
        lambda: update(orders).values(amount=1),
        lambda: delete(orders),
        lambda: select(orders.c.id),
        lambda: select(alias(orders).c.id),
        lambda: select(func.count()).select_from(orders),
        lambda: insert(facts).from_select(["id"], select(orders.c.amount)),
    ],
)
@pytest.mark.parametrize("method", ["execute", "write"])
def test_statements_that_name_a_declared_table_are_refused(page, method, make):
    def handler(connection):
        getattr(connection, method)(make())

    with pytest.raises(InvalidProjection, match=r"take connection\.tables\["):
        page.run(handler)


def test_an_upsert_of_a_declared_table_is_refused(page):
    with pytest.raises(InvalidProjection, match=r"take connection\.tables\['orders'\]"):
        page.run(lambda connection: connection.upsert(orders, ROW))


@pytest.mark.parametrize("words", ["COMMIT", " rollback;", "BEGIN", "savepoint x", "END"])
def test_a_handler_cannot_end_the_transaction(page, words):
    with pytest.raises(InvalidProjection, match="the transaction ends with the page"):
        page.run(lambda connection: connection.execute(text(words)))


@pytest.mark.parametrize(
    "use",
    [
        lambda connection: connection.upsert(connection.tables.orders, ROW),
        lambda connection: connection.write(insert(connection.tables.orders), ROW),
        lambda connection: connection.execute(select(connection.tables.orders)),
    ],
)
def test_a_connection_is_good_for_nothing_outside_of_its_handler(page, use):
    kept = []
    page.run(kept.append)
    for _ in range(2):
        with pytest.raises(InvalidProjection, match="outside of its handler"):
            use(kept[0])
    assert page.run(lambda _: None) == []


def test_an_error_of_what_was_written_comes_later_and_nothing_of_the_page_stays(page):
    def wrong(connection):
        connection.upsert(connection.tables.orders, {**ROW, "amount": None})

    def right(connection):
        connection.execute(select(connection.tables.orders))

    with pytest.raises(IntegrityError):
        page.run(wrong, right)
    assert page.model.undo(SERVING) == Progress(1, "1")._replace(position=0)
    with pytest.raises(IntegrityError):
        page.run(lambda connection: connection.upsert(connection.tables.orders, ROW), wrong)
    page.model.undo(SERVING)
    assert page.rows() == []


@pytest.mark.parametrize("value", ["no number", object()])
def test_a_value_that_does_not_fit_its_column_is_the_handlers_error(page, value):
    with pytest.raises((StatementError, TypeError, ValueError, LookupError)):
        page.run(
            lambda connection: connection.upsert(
                connection.tables.facts, {"id": 1, "at": value, "status": value}
            )
        )
    page.model.undo(SERVING)
    assert page.rows(facts) == []


def test_a_statement_may_have_literal_percents_and_odd_names(page):
    def handler(connection):
        table = connection.tables.orders
        connection.upsert(table, ROW)
        odd = update(table).where(table.c.note.like("%n%")).values(amount=bindparam("the amount"))
        connection.write(odd, {"the amount": 9})
        connection.write(text("UPDATE orders SET note = '%' WHERE line = :line"), {"line": 1})

    assert page.run(handler) == [("a", 1, 9, "%")]


def test_many_statements_are_forgotten_and_made_again(page):
    def handler(connection):
        table = connection.tables.orders
        connection.upsert(table, ROW)
        for number in range(1200):
            connection.write(update(table).values(amount=bindparam("amount")), {"amount": number})

    assert page.run(handler) == [("a", 1, 1199, "n")]


def test_time_zones_are_the_columns_affair(page):
    at = datetime(2026, 1, 2, tzinfo=UTC)
    page.run(lambda connection: connection.upsert(connection.tables.facts, {"id": 1, "at": at}))
    assert page.rows(facts)[0][1] == at.replace(tzinfo=None)
