"""Table transactions: tables and checkpoints change together, and nobody waits for long."""

import os
import signal
import threading
from contextlib import closing, contextmanager

import pytest
from cutting_proxy import CuttingProxy
from sql_rows import rows
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError, IntegrityError, StatementError
from store_helpers import append, log, logged, start_program, unavailable
from support import eventually, run_threads

from eskernel.errors import NotStorable, StaleEpoch
from eskernel.values import Checkpoint

NAME = "balances"
ADD = text("INSERT INTO mine VALUES (:number)")


@pytest.fixture
def store(sql_url, open_sql):
    return with_table(open_sql(sql_url))


@pytest.fixture
def sqlite(sqlite_url, open_sql):
    return with_table(open_sql(sqlite_url))


@pytest.fixture
def postgres(postgresql_url, open_sql):
    return with_table(open_sql(postgresql_url))


def with_table(store):
    with store.table_transaction(5) as transaction:
        transaction.connection.execute(text("CREATE TABLE mine (number INTEGER PRIMARY KEY)"))
    return store


def made(position, epoch=0):
    return Checkpoint(position, "v1", b"", b"", epoch)


def add(transaction, number):
    transaction.connection.execute(ADD, {"number": number})


def mine(store):
    return [number for (number,) in rows(store, "SELECT number FROM mine ORDER BY number")]


@contextmanager
def helping(function):
    """Lend what starts a function on another thread, which must end well."""
    errors = []

    def run():
        try:
            function()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    yield thread.start
    thread.join(20)
    assert not thread.is_alive()
    assert errors == []


def test_tables_and_checkpoints_change_together(store):
    with store.table_transaction(5) as transaction:
        add(transaction, 1)
        transaction.save_checkpoints(NAME, 3, {"serving": made(9)})
        assert mine(store) == []
        assert store.load_checkpoint(NAME) is None
    assert mine(store) == [1]
    assert store.load_checkpoint(NAME) == made(9, 3)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_takes_everything_back_and_leaves_nothing_locked(store, error):
    with pytest.raises(error), store.table_transaction(5) as transaction:
        add(transaction, 1)
        transaction.save_checkpoints(NAME, 3, {"serving": made(9)})
        raise error
    assert mine(store) == []
    store.save_checkpoints(NAME, 1, {"serving": made(1)})
    assert append(store, ("a", "1"), "x") == 1
    with store.table_transaction(5) as transaction:
        assert not transaction.is_awaited()
        add(transaction, 2)
    assert mine(store) == [2]


def test_whoever_was_taken_over_changes_no_table(store):
    store.save_checkpoints(NAME, 4, {})
    with pytest.raises(StaleEpoch), store.table_transaction(5) as transaction:
        add(transaction, 1)
        transaction.save_checkpoints(NAME, 3, {"serving": made(9)})
    assert mine(store) == []
    assert store.load_checkpoint(NAME) is None


@pytest.mark.parametrize("patience", [0, -1, float("nan")])
def test_a_patience_that_is_none_is_refused(store, patience):
    with pytest.raises(ValueError, match="patience"), store.table_transaction(patience):
        pass


def test_a_malformed_checkpoint_is_refused(store):
    with pytest.raises(NotStorable), store.table_transaction(5) as transaction:
        add(transaction, 1)
        transaction.save_checkpoints(NAME, 3, {"serving": made(-1)})
    assert mine(store) == []


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("INSERT INTO mine VALUES (1)", IntegrityError),
        ("INSERT INTO nothing VALUES (1)", DBAPIError),
        ("SELECT no_such_column FROM mine", DBAPIError),
        ("INSERT INTO", DBAPIError),
        ("INSERT INTO mine VALUES (:missing)", StatementError),
    ],
)
def test_a_statement_that_is_wrong_in_itself_fails_as_such(store, statement, error):
    """Who repeats it as if the database were away would repeat it for ever."""
    with store.table_transaction(5) as transaction:
        add(transaction, 1)
    with pytest.raises(error), store.table_transaction(5) as transaction:
        add(transaction, 2)
        transaction.connection.execute(text(statement))
    assert mine(store) == [1]


def test_a_value_no_database_knows_fails_as_such(store):
    with pytest.raises(DBAPIError), store.table_transaction(5) as transaction:
        transaction.connection.execute(ADD, {"number": object()})
    assert mine(store) == []


def test_a_constraint_checked_at_the_end_fails_as_such(postgres):
    with postgres.table_transaction(5) as transaction:
        transaction.connection.execute(
            text(
                "CREATE TABLE child (number INTEGER REFERENCES mine (number) "
                "DEFERRABLE INITIALLY DEFERRED)"
            )
        )
    with pytest.raises(IntegrityError), postgres.table_transaction(5) as transaction:
        transaction.save_checkpoints(NAME, 1, {"serving": made(1)})
        transaction.connection.execute(text("INSERT INTO child VALUES (7)"))
    assert postgres.load_checkpoint(NAME) is None


def test_a_failure_that_was_passed_over_is_not_taken_for_success(postgres):
    with (
        pytest.raises(RuntimeError, match="nothing of it is stored"),
        postgres.table_transaction(5) as transaction,
    ):
        add(transaction, 1)
        transaction.save_checkpoints(NAME, 1, {"serving": made(1)})
        with pytest.raises(DBAPIError):
            transaction.connection.execute(text("SELECT no_such_column FROM mine"))
    assert mine(postgres) == []
    assert postgres.load_checkpoint(NAME) is None


def test_what_may_fail_fits_into_a_savepoint(store):
    with store.table_transaction(5) as transaction:
        add(transaction, 1)
        with pytest.raises(IntegrityError), transaction.connection.begin_nested():
            add(transaction, 2)
            add(transaction, 1)
        add(transaction, 3)
        transaction.save_checkpoints(NAME, 1, {"serving": made(1)})
    assert mine(store) == [1, 3]
    assert store.load_checkpoint(NAME) == made(1, 1)


def test_a_process_killed_between_two_statements_leaves_nothing(store, sql_url):
    program = start_program(
        f"""
        from sqlalchemy import text
        store = open_store({sql_url!r})
        with store.table_transaction(60) as transaction:
            transaction.connection.execute(text("INSERT INTO mine VALUES (1)"))
            transaction.save_checkpoints("balances", 1, {{"serving": Checkpoint(1, "v", b"")}})
            transaction.connection.execute(text("INSERT INTO mine VALUES (2)"))
            say("under way")
            sys.stdin.read()
        """
    )
    with program:
        assert program.stdout.readline() == "under way\n"
        program.kill()
    assert mine(store) == []
    assert store.load_checkpoint(NAME) is None
    store.save_checkpoints(NAME, 0, {"serving": made(1)})  # no epoch was left either
    with store.table_transaction(5) as transaction:
        add(transaction, 1)
    assert mine(store) == [1]


def test_a_paused_process_loses_its_transaction_and_its_turn(postgres, postgresql_url):
    program = start_program(
        f"""
        from sqlalchemy import text
        store = open_store({postgresql_url!r})
        try:
            with store.table_transaction(0.3) as transaction:
                transaction.connection.execute(text("INSERT INTO mine VALUES (1)"))
                transaction.save_checkpoints("balances", 1, {{"serving": Checkpoint(1, "v", b"")}})
                say("under way")
                sys.stdin.readline()
        except StoreUnavailable as error:
            say(f"lost {{error.outcome_unknown}}")
        with store.table_transaction(5) as transaction:
            transaction.connection.execute(text("INSERT INTO mine VALUES (3)"))
        store.close()
        say("done")
        """
    )
    with program:
        try:
            assert program.stdout.readline() == "under way\n"
            os.kill(program.pid, signal.SIGSTOP)
            with postgres.table_transaction(5) as transaction:
                transaction.save_checkpoints(NAME, 0, {"serving": made(2)})
                add(transaction, 1)
            os.kill(program.pid, signal.SIGCONT)
            out, errors = program.communicate("go on\n", timeout=30)
        finally:
            program.kill()
    assert (out, errors) == ("lost True\ndone\n", "")
    assert mine(postgres) == [1, 3]
    assert postgres.load_checkpoint(NAME) == made(2, 0)


def test_patience_is_of_one_transaction(postgres):
    with postgres.table_transaction(0.5) as transaction:
        setting = text("SHOW idle_in_transaction_session_timeout")
        assert transaction.connection.execute(setting).scalar_one() == "500ms"
    with postgres.table_transaction(10**9) as transaction:
        assert transaction.connection.execute(setting).scalar_one() == "2147483647ms"
    assert rows(postgres, str(setting)) == [("10s",)]


@pytest.mark.parametrize("forwarded", [True, False])
def test_a_commit_that_is_lost_has_an_unknown_outcome(postgresql_url, open_sql, forwarded):
    near = with_table(open_sql(postgresql_url))
    with closing(CuttingProxy(make_url(postgresql_url).port)) as proxy:
        far = open_sql(make_url(postgresql_url).set(port=proxy.port))
        proxy.rules = [(b"COMMIT", forwarded)]

        def write():
            with far.table_transaction(5) as transaction:
                add(transaction, 1)
                transaction.save_checkpoints(NAME, 1, {"serving": made(1)})

        assert unavailable(write).outcome_unknown
        assert mine(near) == ([1] if forwarded else [])
        assert near.load_checkpoint(NAME) == (made(1, 1) if forwarded else None)
        far.close()


def test_a_connection_lost_before_the_commit_is_known_to_have_stored_nothing(postgres, postgresql):
    def write():
        with postgres.table_transaction(5) as transaction:
            add(transaction, 1)
            pid = transaction.connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
            postgresql.execute(f"select pg_terminate_backend({pid})")
            add(transaction, 2)

    assert not unavailable(write).outcome_unknown
    assert mine(postgres) == []
    with postgres.table_transaction(5) as transaction:
        add(transaction, 1)
    assert mine(postgres) == [1]


def test_appends_pass_a_table_transaction_under_way(postgres):
    with postgres.table_transaction(5) as transaction:
        add(transaction, 1)
        transaction.save_checkpoints(NAME, 1, {"serving": made(1)})
        run_threads(lambda: append(postgres, ("a", "1"), "x"))
        assert not transaction.is_awaited()
    assert len(log(postgres)) == 1


def test_readers_pass_a_table_transaction_under_way(store):
    append(store, ("a", "1"), "x")
    with store.table_transaction(5) as transaction:
        add(transaction, 1)
        run_threads(lambda: log(store), lambda: store.load_checkpoint(NAME), lambda: mine(store))


def test_a_table_transaction_tells_that_an_append_waits(sqlite):
    with (
        helping(lambda: append(sqlite, ("a", "1"), "x")) as start,
        sqlite.table_transaction(5) as transaction,
    ):
        assert not transaction.is_awaited()
        start()
        assert eventually(transaction.is_awaited)
        assert logged(sqlite) == []
    assert logged(sqlite) == ["x"]


@pytest.mark.parametrize(
    "write",
    [
        lambda store, number: append(store, ("a", "1"), number),
        lambda store, number: store.save_checkpoints(NAME, 1, {"serving": made(number)}),
        lambda store, number: store.acquire_lease(f"name {number}", "first", 5),
    ],
)
def test_of_table_transactions_one_after_another_each_lets_who_waits_go_first(sqlite, write):
    """Each ends only when the other waits; the next must find that the other is done."""
    done, stopped = [], threading.Event()

    def others():
        while not stopped.is_set():
            write(sqlite, len(done))
            done.append(None)

    with helping(others) as start:
        start()
        before = -1
        try:
            for number in range(20):
                with sqlite.table_transaction(5) as transaction:
                    assert len(done) > before or number == 0
                    add(transaction, number)
                    assert eventually(transaction.is_awaited)
                    before = len(done)
        finally:
            stopped.set()
    assert mine(sqlite) == [*range(20)]
    assert len(done) >= 19


def test_two_who_write_one_table_transaction_after_another_both_get_on(sqlite):
    numbers = {0: iter(range(0, 10**6, 2)), 1: iter(range(1, 10**6, 2))}
    counts = [0, 0]

    def project(who):
        while min(counts) < 5:
            with sqlite.table_transaction(5) as transaction:
                add(transaction, next(numbers[who]))
            counts[who] += 1

    run_threads(lambda: project(0), lambda: project(1))
    assert len(mine(sqlite)) == sum(counts)
