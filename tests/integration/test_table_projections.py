"""Projections in tables of real databases: exactly once, whatever fails, and whole at any time."""

import re
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from threading import Event as Flag
from types import SimpleNamespace

import pytest
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    bindparam,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.exc import DBAPIError, IntegrityError
from store_helpers import run_program, unavailable
from support import eventually, run_threads

from domains import order, orders_table
from eskernel import Command, Kernel
from eskernel.contracts import Commit
from eskernel.errors import CorruptStore, InvalidProjection, StaleEpoch, StoreUnavailable
from eskernel.projections.definition import Definition
from eskernel.projections.progress import Progress
from eskernel.projections.read_model import BUILDING, PREVIOUS
from eskernel.projections.tables import TableModel
from eskernel.values import SERVING, Event, Range
from eskernel_stores import MemoryStore

KEY = "projection/counts"
EVENTS = 20


def declared(name="counts", *more):
    return Table(
        name,
        MetaData(),
        Column("id", String, primary_key=True, comment="whose"),
        Column("events", BigInteger, nullable=False, server_default="0"),
        Column("total", BigInteger, nullable=False, index=True),
        Column("last", BigInteger, nullable=False, unique=True),
        Column("mark", BigInteger, nullable=False),
        Index("counts_by_total", "total", "last"),
        UniqueConstraint("id", "last", name="counts_once"),
        CheckConstraint("events > 0", name="counts_some"),
        *more,
        comment="what was counted",
    )


def adding(tables):
    (name,) = tables
    table = tables[name]
    return (
        update(table)
        .where(table.c.id == bindparam("key"))
        .values(
            events=table.c.events + 1,
            total=table.c.total + bindparam("amount"),
            last=bindparam("position"),
        )
    )


def counting(*tables, mark=1, version="1"):
    """Return a projection that no event may reach twice: it adds."""

    def handle_event(event, connection):
        (name,) = connection.tables
        table = connection.tables[name]
        key = event.stream_id[1]
        found = connection.execute(select(table.c.events).where(table.c.id == key)).first()
        if found is None:
            new = {"id": key, "events": 1, "total": event.payload, "last": event.position}
            connection.upsert(table, {**new, "mark": mark})
        else:
            parameters = {"key": key, "amount": event.payload, "position": event.position}
            connection.write(connection.prepared(adding), parameters)

    found = tables or (declared(),)
    return SimpleNamespace(tables=found, handle_event=handle_event, version=version)


def model_of(module, store, key=KEY):
    return TableModel(Definition(key.split("/")[1], module), store, key)


def fill(store, count=EVENTS, first=0):
    for number in range(first, first + count):
        stream, sequence = ("account", f"a{number % 3}"), number // 3
        event = Event(stream, sequence + 1, "added", number)
        assert store.append_batch([Commit(stream, [event], sequence)]) == [number + 1]


def moved(progress, position):
    return progress.moved(list(range(progress.position + 1, position + 1)), position)


def drive(model, log, slot=SERVING, page=12, epoch=1):
    """Bring a slot to the end of the log, as its lane would."""
    progress = model.load(slot)
    if progress is None:
        progress = Progress(0, "1")
        model.begin(slot, progress)
    while True:
        _, reached = log.fold_all(
            lambda _, event: model.handle(slot, iter([event])),
            None,
            Range(progress.position + 1),
            limit=page,
        )
        if reached == progress.position:
            return progress
        progress = moved(progress, reached)
        model.commit(slot, progress, epoch)


def rebuild(model, log, epoch=1):
    built = drive(model, log, BUILDING, epoch=epoch)
    serving = model.load(SERVING)
    model.promote(serving, built._replace(generation=serving.generation + 1), epoch)


def expected(position):
    """Return the rows after so many events."""
    rows = {}
    for number in range(position):
        key = f"a{number % 3}"
        events, total, _ = rows.get(key, (0, 0, 0))
        rows[key] = (events + 1, total + number, number + 1)
    return rows


@contextmanager
def reading(store):
    with store._database.connect() as connection:
        yield connection


def contents(store, name="counts"):
    with reading(store) as connection:
        table = declared(name)
        found = connection.execute(select(table.c.id, table.c.events, table.c.total, table.c.last))
        return {key: (events, total, last) for key, events, total, last in found}


def names_in(store):
    with reading(store) as connection:
        inspector = inspect(connection)
        return {name for name in inspector.get_table_names() if not name.startswith("eskernel_")}


def indexes_of(store, name):
    with reading(store) as connection:
        inspector = inspect(connection)
        found = [*inspector.get_indexes(name), *inspector.get_unique_constraints(name)]
        return {tuple(one["column_names"]): one["name"] for one in found}


def check_slots(store):
    """Each table says what its checkpoint says it does."""
    for slot, name in ((SERVING, ""), (BUILDING, "__building"), (PREVIOUS, "__previous")):
        stored = store.load_checkpoint(KEY, slot)
        if stored is not None:
            assert contents(store, f"counts{name}") == expected(stored.position), slot
        elif slot == SERVING:
            assert "counts" not in names_in(store)


@pytest.fixture
def store(sql_url, open_sql):
    store = open_sql(sql_url)
    fill(store)
    return store


@pytest.fixture
def postgresql_store(postgresql_url, open_sql):
    store = open_sql(postgresql_url)
    fill(store)
    return store


def test_tables_hold_each_event_once_and_their_position_is_stored_with_them(store):
    drive(model_of(counting(), store), store)
    assert contents(store) == expected(EVENTS)
    fill(store, 5, EVENTS)
    drive(model_of(counting(), store), store)
    assert contents(store) == expected(EVENTS + 5)
    assert store.load_checkpoint(KEY).position == EVENTS + 5


def whole_life(store):
    """Count, rebuild, and roll back, going on wherever an earlier process ended."""
    model = model_of(counting(), store)
    serving = drive(model, store)
    if serving.generation == 0:
        rebuild(model, store)
        serving = model.load(SERVING)
    if serving.generation == 1:
        previous = model.peek(PREVIOUS)
        model.roll_back(serving, previous._replace(generation=2), 1)
    assert drive(model, store).generation == 2


def forget(store):
    """Make the database as if nothing had been projected."""
    with store._database.transaction() as connection:
        for name in ("counts", "counts__building", "counts__previous"):
            connection.execute(text(f"DROP TABLE IF EXISTS {name}"))
        for name in ("eskernel_checkpoints", "eskernel_leases"):
            connection.execute(text(f"DELETE FROM {name}"))


KILLS = """
sys.path.insert(0, {folder!r})
from sqlalchemy import event
from test_table_projections import *

def live(statements):
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        with closing(open_store({url!r})) as store:
            seen = []
            def count(connection, cursor, statement, *_):
                if not statement.startswith(("SELECT", "PRAGMA")):  # which change nothing
                    seen.append(statement)
                if len(seen) == statements:
                    os._exit(9)
            event.listen(store._backend.engine, "before_cursor_execute", count)
            whole_life(store)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)

statements, status = 0, 9
while status == 9:
    statements += 1
    status = live(statements)
    with closing(open_store({url!r})) as store:
        check_slots(store)
        whole_life(store)
        check_slots(store)
        assert store.load_checkpoint(KEY).position == EVENTS
        forget(store)
assert status == 0, status
say(statements)
"""


def test_a_process_killed_between_any_two_statements_has_done_all_of_a_page_or_nothing(
    store, sql_url
):
    folder = str(Path(__file__).parent)
    (statements,) = run_program(KILLS.format(folder=folder, url=str(sql_url)), timeout=110)
    assert int(statements) > 50


def test_readers_see_the_old_table_or_the_new_one_whole_and_nothing_else(store):
    seen, done = [], Flag()

    def read():
        while not done.is_set():
            with reading(store) as connection:
                rows = connection.execute(text("SELECT mark, events FROM counts")).all()
            marks = {mark for mark, _ in rows}
            assert (len(marks), len(rows)) == (1, 3), rows
            seen.extend(marks)

    def work():
        try:
            for mark in range(2, 8):
                model = model_of(counting(mark=mark), store)
                rebuild(model, store)
                if mark % 2:
                    model.roll_back(model.load(SERVING), model.peek(PREVIOUS), 1)
                model.close()
        finally:
            done.set()

    drive(model_of(counting(), store), store)
    run_threads(read, read, work, timeout=60)
    assert len(set(seen)) > 1
    assert contents(store) == expected(EVENTS)


def test_a_rollback_serves_what_served_before_and_can_be_taken_back(store):
    model = model_of(counting(mark=1), store)
    drive(model, store)
    fill(store, 3, EVENTS)
    newer = model_of(counting(mark=2), store)
    rebuild(newer, store)
    assert contents(store) == expected(EVENTS + 3)
    for position in (EVENTS, EVENTS + 3):
        newer.roll_back(newer.load(SERVING), newer.peek(PREVIOUS), 1)
        assert (contents(store), newer.load(SERVING).position) == (expected(position), position)
    assert names_in(store) == {"counts", "counts__previous"}


def test_two_rebuilds_keep_indexes_constraints_defaults_and_comments(store):
    model = model_of(counting(), store)
    drive(model, store)
    first = indexes_of(store, "counts")
    assert {("total",), ("total", "last"), ("id", "last"), ("last",)} <= set(first)
    for _ in range(3):
        rebuild(model, store)
    assert set(indexes_of(store, "counts")) == set(first)
    named = indexes_of(store, "counts")
    assert re.fullmatch("counts_by_total__[0-9a-f]{8}", named["total", "last"])
    assert re.fullmatch("counts_once__[0-9a-f]{8}", named["id", "last"])
    with reading(store) as connection:
        inspector = inspect(connection)
        assert inspector.get_pk_constraint("counts")["constrained_columns"] == ["id"]
        (check,) = inspector.get_check_constraints("counts")
        assert check["name"] == "counts_some"
        columns = {one["name"]: one for one in inspector.get_columns("counts")}
        assert "0" in columns["events"]["default"]
        if connection.dialect.name == "postgresql":
            assert inspector.get_table_comment("counts") == {"text": "what was counted"}
            assert columns["id"]["comment"] == "whose"
    with pytest.raises(IntegrityError), store.table_transaction(5) as lent:
        lent.connection.execute(text("UPDATE counts SET events = 0"))


def test_names_too_long_for_postgresql_are_shortened_and_stay_apart(store):
    tables = [
        declared("t" * 60 + end, Index("i" * 70 + end, "mark", "total")) for end in ("abc", "abd")
    ]
    for number, table in enumerate(tables):
        model = model_of(counting(table), store, f"projection/{number}")
        drive(model, store)
        for _ in range(2):
            rebuild(model, store)
    for table in tables:
        assert contents(store, str(table.name)) == expected(EVENTS)
        assert ("mark", "total") in indexes_of(store, str(table.name))
    assert len(names_in(store)) == 4
    assert all(len(name) <= 63 for name in names_in(store))


@pytest.mark.parametrize("name", ['Order "lines"; --', "select", "100% größer", "counts%(x)s"])
def test_names_that_need_quotes_are_quoted(store, name):
    model = model_of(counting(declared(name, Index(f"by {name}", "mark"))), store)
    drive(model, store)
    rebuild(model, store)
    model.roll_back(model.load(SERVING), model.peek(PREVIOUS), 1)
    rebuild(model, store)
    assert contents(store, name) == expected(EVENTS)
    assert names_in(store) == {name, f"{name}__previous"}
    assert indexes_of(store, name)["mark",].startswith(f"by {name}__")


def test_what_a_process_has_left_of_a_rebuild_is_replaced(store):
    model = model_of(counting(), store)
    drive(model, store)
    with store.table_transaction(5) as lent:
        lent.connection.execute(text("CREATE TABLE counts__building (other INTEGER)"))
        lent.connection.execute(text("CREATE TABLE counts__previous (other INTEGER)"))
    rebuild(model, store)
    assert contents(store) == contents(store, "counts__previous") == expected(EVENTS)


def test_a_table_of_somebody_else_is_never_touched(store):
    with store.table_transaction(5) as lent:
        lent.connection.execute(text("CREATE TABLE counts (theirs INTEGER)"))
        lent.connection.execute(text("INSERT INTO counts VALUES (17)"))
    model = model_of(counting(), store)
    assert model.load(SERVING) is None
    with pytest.raises(InvalidProjection, match="there is a table counts already"):
        model.begin(SERVING, Progress(0, "1"))
    model.drop(SERVING, 1)
    with reading(store) as connection:
        assert connection.execute(text("SELECT theirs FROM counts")).scalar_one() == 17


def test_a_new_version_may_add_tables_and_leave_others_out(store):
    def nothing(event, connection):
        connection.upsert(connection.tables.kept, {"id": event.position})

    def module(*names):
        tables = [
            Table(one, MetaData(), Column("id", BigInteger, primary_key=True)) for one in names
        ]
        return SimpleNamespace(tables=tables, handle_event=nothing, version="1")

    drive(model_of(module("kept", "dropped"), store), store)
    newer = model_of(module("kept", "added"), store)
    rebuild(newer, store)
    assert names_in(store) == {"kept", "added", "kept__previous", "dropped__previous"}
    newer.roll_back(newer.load(SERVING), newer.peek(PREVIOUS), 1)
    assert names_in(store) == {"kept", "dropped", "kept__previous", "added__previous"}
    rebuild(newer, store)
    assert names_in(store) == {"kept", "added", "kept__previous", "dropped__previous"}
    with store.table_transaction(5) as lent:
        lent.connection.execute(text("CREATE TABLE other (theirs INTEGER)"))
    with pytest.raises(InvalidProjection, match="there is a table other already"):
        model_of(module("other"), store).begin(BUILDING, Progress(0, "1"))


def test_a_lost_table_is_reported_and_not_made_again(store):
    drive(model_of(counting(), store), store)
    with store.table_transaction(5) as lent:
        lent.connection.execute(text("DROP TABLE counts"))
    with pytest.raises(CorruptStore, match="table counts is gone"):
        model_of(counting(), store).load(SERVING)


def test_dropping_a_rebuild_leaves_what_serves(store):
    model = model_of(counting(), store)
    drive(model, store)
    drive(model, store, BUILDING)
    model.drop(BUILDING, 1)
    assert names_in(store) == {"counts"}
    assert model.peek(BUILDING) is None
    assert contents(store) == expected(EVENTS)


def test_a_process_whose_lease_is_gone_changes_nothing(store):
    old, new = model_of(counting(), store), model_of(counting(), store)
    drive(old, store)
    built = drive(old, store, BUILDING)
    before = names_in(store)
    serving = old.load(SERVING)
    new.load(SERVING)
    new.commit(SERVING, serving, 2)
    fill(store, 1, EVENTS)
    store.fold_all(lambda _, event: old.handle(SERVING, iter([event])), None, Range(EVENTS + 1))
    calls = (
        lambda: old.commit(SERVING, moved(serving, EVENTS + 1), 1),
        lambda: old.promote(serving, built, 1),
        lambda: old.drop(SERVING, 1),
        lambda: old.drop(BUILDING, 1),
    )
    for call in calls:
        with pytest.raises(StaleEpoch):
            call()
        assert (names_in(store), contents(store)) == (before, expected(EVENTS))
    rebuild(new, store, epoch=2)
    model_of(counting(), store)
    with pytest.raises(StaleEpoch):
        old.promote(serving, built, 1)  # of which nothing is there any more


def events_of(store):
    return store.fold_all(lambda found, event: [*found, event], [])[0]


def test_what_the_database_refuses_is_raised_as_it_is_and_undone(store):
    events = events_of(store)
    model = model_of(counting(), store)
    progress = drive(model, store)

    def twice(event, connection):
        row = {"events": 1, "total": 1, "last": 1, "mark": 1}
        connection.upsert(connection.tables.counts, {**row, "id": "x"})
        connection.upsert(connection.tables.counts, {**row, "id": "y"})

    faulty = model_of(SimpleNamespace(tables=counting().tables, handle_event=twice), store)
    assert faulty.load(SERVING) == progress
    faulty.handle(SERVING, iter([events[0]]))
    with pytest.raises(IntegrityError):
        faulty.commit(SERVING, progress, 1)
    refused = unavailable(faulty.handle, SERVING, events[0])
    assert "go on from the last commit" in str(refused)
    assert unavailable(faulty.commit, SERVING, progress, 1)
    assert faulty.undo(SERVING) == progress
    assert contents(store) == expected(EVENTS)
    faulty.commit(SERVING, progress, 1)


def test_a_handler_cannot_hide_what_the_database_refused(store):
    def hiding(event, connection):
        connection.upsert(connection.tables.counts, {"id": "x"})
        with suppress(IntegrityError):
            connection.execute(select(connection.tables.counts))

    model = model_of(SimpleNamespace(tables=counting().tables, handle_event=hiding), store)
    model.begin(SERVING, Progress(0, "1"))
    with pytest.raises(IntegrityError):
        model.handle(SERVING, iter([events_of(store)[0]]))
    assert model.undo(SERVING).position == 0
    assert names_in(store) == set()


@pytest.mark.parametrize("when", ["handled", "committed"])
def test_a_lost_connection_is_not_the_events_fault(postgresql_store, when):
    store = postgresql_store
    events = events_of(store)
    model = model_of(counting(), store)
    progress = drive(model, store)

    def lost(event, connection):
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        with reading(store) as other:
            other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
            there = text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid")
            eventually(lambda: not other.execute(there, {"pid": pid}).scalar_one())
        connection.upsert(connection.tables.counts, {"id": "x"})
        if when == "handled":
            try:
                connection.execute(select(connection.tables.counts))
            except DBAPIError as error:
                raise ValueError("wrapped by the handler") from error

    broken = model_of(SimpleNamespace(tables=counting().tables, handle_event=lost), store)
    broken.load(SERVING)
    if when == "handled":
        error = unavailable(broken.handle, SERVING, events[0])
    else:
        broken.handle(SERVING, iter([events[0]]))
        error = unavailable(broken.commit, SERVING, progress, 1)
    assert not error.outcome_unknown
    assert broken.undo(SERVING) == progress
    broken.commit(SERVING, progress, 1)
    assert contents(store) == expected(EVENTS)


class Doubtful:
    """A store whose commits lose their answer, and are done or not."""

    def __init__(self, store, *, done):
        self._store, self.done, self.doubt = store, done, True

    def __getattr__(self, name):
        return getattr(self._store, name)

    # What a protocol's isinstance looks for on the class or the instance.
    def save_checkpoints(self, *arguments):
        return self._store.save_checkpoints(*arguments)

    @contextmanager
    def table_transaction(self, patience):
        lost = StoreUnavailable("no answer", outcome_unknown=True)
        doubt = self.doubt
        try:
            with self._store.table_transaction(patience) as lent:
                yield lent
                if doubt and not self.done:
                    raise lost
        finally:
            self.doubt = False
        if doubt:
            raise lost


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("position", [0, EVENTS])
def test_after_a_commit_of_unknown_outcome_the_truth_is_read(store, done, position):
    doubtful = Doubtful(store, done=done)
    doubtful.doubt = False
    model = model_of(counting(), doubtful)
    before = Progress(0, "1")
    if position:
        before = drive(model, store)
        fill(store, 5, EVENTS)
    else:
        assert model.load(SERVING) is None
        model.begin(SERVING, before)
    doubtful.doubt = True
    _, reached = store.fold_all(
        lambda _, event: model.handle(SERVING, iter([event])), None, Range(position + 1)
    )
    after = moved(before, reached)
    assert unavailable(model.commit, SERVING, after, 1).outcome_unknown
    assert model.undo(SERVING) == (after if done else before)
    if not done:
        store.fold_all(
            lambda _, event: model.handle(SERVING, iter([event])), None, Range(position + 1)
        )
    model.commit(SERVING, after, 1)
    assert contents(store) == expected(reached)


def test_a_commit_still_under_way_is_waited_for(postgresql_store):
    store = postgresql_store
    doubtful = Doubtful(store, done=False)
    doubtful.doubt = False
    model = model_of(counting(), doubtful)
    progress = drive(model, store)
    later = progress._replace(generation=5)
    doubtful.doubt = True
    assert unavailable(model.commit, SERVING, later, 1).outcome_unknown
    began, found = Flag(), []

    def commit_late():
        with store.table_transaction(5) as lent:
            stored = store.load_checkpoint(KEY)
            late = later.checkpoint(stored.state)
            lent.save_checkpoints(KEY, 1, {SERVING: late})
            began.set()
            waiting = text(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                "AND query LIKE '%eskernel_leases%'"
            )
            with reading(store) as other:
                eventually(lambda: other.execute(waiting).scalar_one())

    def undo():
        began.wait(10)
        found.append(model.undo(SERVING))

    run_threads(commit_late, undo)
    assert found == [later]


def test_tables_may_be_kept_in_another_database_than_the_events(sql_url, open_sql, tmp_path):
    log = open_sql(f"sqlite:///{tmp_path / 'log.db'}")
    fill(log)
    views = open_sql(sql_url)
    drive(model_of(counting(), views), log)
    assert contents(views) == expected(EVENTS)
    assert names_in(log) == set()


def test_events_of_a_store_in_memory_may_fill_tables(sql_url, open_sql):
    log = MemoryStore()
    fill(log)
    views = open_sql(sql_url)
    rebuild_of = model_of(counting(), views)
    drive(rebuild_of, log)
    rebuild(rebuild_of, log)
    assert contents(views) == expected(EVENTS)


def test_a_store_without_tables_is_refused():
    with pytest.raises(InvalidProjection, match="has tables, and MemoryStore keeps none"):
        model_of(counting(), MemoryStore())


def test_views_and_triggers_of_sqlite_stay_with_the_name(sqlite_url, open_sql):
    store = open_sql(sqlite_url)
    fill(store)
    model = model_of(counting(mark=1), store)
    drive(model, store)
    with store.table_transaction(5) as lent:
        lent.connection.execute(text("CREATE VIEW marks AS SELECT DISTINCT mark FROM counts"))
    newer = model_of(counting(mark=2), store)
    rebuild(newer, store)
    with reading(store) as connection:
        assert connection.execute(text("SELECT mark FROM marks")).scalar_one() == 2
        assert connection.execute(text("PRAGMA legacy_alter_table")).scalar_one() == 0
    rebuild(newer, store)


def test_views_of_postgresql_are_refused_before_a_rebuild_and_before_it_serves(postgresql_store):
    store = postgresql_store
    model = model_of(counting(), store)
    drive(model, store)
    built = drive(model, store, BUILDING)
    with store.table_transaction(5) as lent:
        lent.connection.execute(text("CREATE VIEW marks AS SELECT DISTINCT mark FROM counts"))
    with pytest.raises(InvalidProjection, match="the views marks on table counts"):
        model.promote(model.load(SERVING), built, 1)
    with pytest.raises(InvalidProjection, match="the views marks on table counts"):
        model.begin(BUILDING, Progress(0, "1"))
    with store.table_transaction(5) as lent:
        lent.connection.execute(text("DROP VIEW marks"))
    model.promote(model.load(SERVING), model.load(BUILDING), 1)


def with_schema(schema):
    return Table(
        "counts",
        MetaData(schema=schema),
        *(column._copy() for column in declared().columns),
        Index("counts_by_total", "total"),
    )


def test_tables_may_be_in_a_schema_of_their_own(postgresql_store, postgresql):
    schema = make_schema(postgresql)
    with pytest.raises(InvalidProjection, match="no schema absent; make it first"):
        model_of(counting(with_schema("absent")), postgresql_store).begin(SERVING, Progress(0, "1"))
    model = model_of(counting(with_schema(schema)), postgresql_store)
    drive(model, postgresql_store)
    rebuild(model, postgresql_store)
    model.roll_back(model.load(SERVING), model.peek(PREVIOUS), 1)
    rebuild(model, postgresql_store)
    with reading(postgresql_store) as connection:
        assert set(inspect(connection).get_table_names(schema)) == {"counts", "counts__previous"}
    assert names_in(postgresql_store) == set()


def make_schema(postgresql):
    """Return the name of a schema beside the store's own."""
    from sql_dumps import schema_of  # noqa: PLC0415

    return schema_of(postgresql.new_schema())


def test_tables_with_a_schema_are_refused_by_sqlite(sqlite_url, open_sql):
    model = model_of(counting(with_schema("main2")), open_sql(sqlite_url))
    with pytest.raises(InvalidProjection, match="SQLite has no schemas"):
        model.begin(SERVING, Progress(0, "1"))


def test_tables_of_another_schema_in_the_search_path_are_not_ours(postgresql, open_sql):
    mine, theirs = postgresql.new_schema(), postgresql.new_schema()
    from sql_dumps import schema_of  # noqa: PLC0415
    from sqlalchemy import make_url  # noqa: PLC0415

    other = open_sql(theirs)
    fill(other)
    rebuild_theirs = model_of(counting(), other)
    drive(rebuild_theirs, other)
    drive(rebuild_theirs, other, BUILDING)
    path = f"-csearch_path={schema_of(mine)},{schema_of(theirs)}"
    # eskernel's own tables are those of the first schema, where it makes them.
    first = open_sql(mine)
    first.close()
    both = open_sql(make_url(mine).update_query_dict({"options": path}))
    fill(both)
    model = model_of(counting(), both)
    drive(model, both)
    rebuild(model, both)
    assert names_in(other) == {"counts", "counts__building"}
    assert contents(other, "counts__building") == expected(EVENTS)


@pytest.fixture
def kernel_with_orders(sql_url, open_sql):
    store = open_sql(sql_url)
    with Kernel({"order": order}, store, projections={"orders": orders_table}) as kernel:
        yield kernel, store


def test_a_kernel_keeps_the_sample_table(kernel_with_orders):
    kernel, store = kernel_with_orders
    line = {"sku": "pen", "quantity": 2, "price": Decimal("1.50")}
    for number in range(20):
        for kind, payload in (("place", {"customer": "ada"}), ("add_line", line)):
            command = Command("order", f"o-{number}", kind, payload)
            kernel.dispatch(command, wait_for=("orders",))
    table = orders_table.orders
    with reading(store) as connection:
        found = connection.execute(select(table.c.status, table.c.total)).all()
    assert [tuple(row) for row in found] == [("placed", 300)] * 20
