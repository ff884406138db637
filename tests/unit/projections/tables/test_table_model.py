"""What the model does with its transaction, on SQLite; the rest is in the integration tests."""

from types import SimpleNamespace

import pytest
from sqlalchemy import BigInteger, Column, MetaData, Table, select, text
from sqlalchemy.exc import OperationalError
from store_helpers import append, unavailable

from eskernel.errors import CorruptStore
from eskernel.projections.definition import Definition
from eskernel.projections.progress import Progress
from eskernel.projections.read_model import BUILDING
from eskernel.projections.tables import TableModel
from eskernel.values import SERVING, Event

ONE = Event(("order", "o-1"), 1, "placed", None, position=1)
NONE, FIRST = Progress(0, "1"), Progress(1, "1")
seen = Table("seen", MetaData(), Column("position", BigInteger, primary_key=True))


def note(event, connection):
    connection.upsert(connection.tables.seen, {"position": event.position})


@pytest.fixture
def store(sqlite_url, open_sql):
    return open_sql(sqlite_url)


@pytest.fixture
def new_model(store):
    def new_model(handler=note):
        module = SimpleNamespace(tables=seen, handle_event=handler, version="1")
        return TableModel(Definition("seen", module), store, "projection/seen")

    return new_model


@pytest.fixture
def model(new_model):
    model = new_model()
    model.begin(SERVING, NONE)
    return model


def rows(store):
    with store._database.connect() as connection:
        return [*connection.execute(select(seen.c.position)).scalars()]


def test_a_commit_without_events_creates_the_tables(model, store):
    model.commit(SERVING, NONE, 1)
    assert rows(store) == []
    assert model.load(SERVING) == NONE


def test_closing_undoes_what_is_not_committed_and_lets_others_write(model, store):
    model.commit(SERVING, NONE, 1)
    model.handle(SERVING, iter([ONE]))
    model.close()
    assert append(store, ("order", "o-1"), "happened") == 1
    assert rows(store) == []
    model.close()


def test_a_failed_handler_lets_others_write_at_once(new_model, store):
    def fail(event, connection):
        note(event, connection)
        raise ZeroDivisionError

    model = new_model(fail)
    model.begin(SERVING, NONE)
    with pytest.raises(ZeroDivisionError):
        model.handle(SERVING, iter([ONE]))
    assert append(store, ("order", "o-1"), "happened") == 1


def test_lost_work_cannot_be_committed_as_if_it_were_done(model, store):
    model.commit(SERVING, NONE, 1)
    model.handle(SERVING, iter([ONE]))
    model.close()
    assert "go on from the last commit" in str(unavailable(model.commit, SERVING, FIRST, 1))
    assert unavailable(model.handle, SERVING, ONE)
    assert model.undo(SERVING) == NONE
    model.handle(SERVING, iter([ONE]))
    model.commit(SERVING, FIRST, 1)
    assert rows(store) == [1]


def test_work_of_two_slots_is_never_mixed(model):
    model.commit(SERVING, NONE, 1)
    model.begin(BUILDING, NONE)
    model.handle(SERVING, iter([ONE]))
    with pytest.raises(RuntimeError, match="slot 'serving' has work that is not committed"):
        model.handle(BUILDING, iter([ONE]))
    assert model.undo(SERVING) == NONE


def test_an_error_of_a_statement_is_raised_as_it_is(new_model):
    model = new_model(lambda _, connection: connection.execute(text("SELECT * FROM nowhere")))
    model.begin(SERVING, NONE)
    with pytest.raises(OperationalError, match="no such table: nowhere"):
        model.handle(SERVING, iter([ONE]))
    assert model.undo(SERVING) == NONE


def test_a_slot_without_a_checkpoint_cannot_be_gone_back_to(model):
    with pytest.raises(CorruptStore, match="no checkpoint 'building' any more"):
        model.undo(BUILDING)


def test_tables_are_not_read_through_the_kernel(model):
    with pytest.raises(TypeError, match="projection/seen keeps tables; read them with SQL"):
        model.read(len)


def test_a_closed_store_is_unavailable(model, store):
    model.commit(SERVING, NONE, 1)
    store.close()
    assert unavailable(model.load, SERVING)
    assert unavailable(model.handle, SERVING, ONE)
    assert unavailable(model.commit, SERVING, FIRST, 1)
    assert unavailable(model.promote, NONE, NONE, 1)


def test_an_interrupted_handler_leaves_nothing_open(new_model, store):
    def interrupted(event, connection):
        note(event, connection)
        raise KeyboardInterrupt

    model = new_model(interrupted)
    model.begin(SERVING, NONE)
    with pytest.raises(KeyboardInterrupt):
        model.handle(SERVING, iter([ONE]))
    assert append(store, ("order", "o-1"), "happened") == 1
