"""Hints: appends to PostgreSQL tell those who wait for them, whatever becomes of connections."""

import threading
import time
from contextlib import closing

import psycopg
import pytest
import structlog
from store_helpers import OTHER, STREAM, append, made, start_program
from support import eventually, run_threads

from eskernel.contracts import HintingEventStore
from eskernel.errors import ConcurrencyConflict, StoreUnavailable
from eskernel_stores.sql.notifier import CHANNEL

NOTIFIERS = "query like '%pg_notify%'"
LISTENERS = f"query = 'LISTEN {CHANNEL}'"


class Hints:
    """Counts the calls of a function that is told of appends."""

    def __init__(self):
        self.number = 0
        self.last = 0.0

    def __call__(self):
        self.number += 1
        self.last = time.monotonic()

    def after(self, action, timeout=5):
        """Do something and return the seconds until the next hint."""
        before, began = self.number, time.monotonic()
        action()
        eventually(lambda: self.number > before, timeout)
        return self.last - began


@pytest.fixture
def store(postgresql_url, open_sql):
    return open_sql(postgresql_url)


@pytest.fixture
def backends(postgresql):
    """Connections to the server whose latest statement was of some kind."""

    def backends(kind):
        return {
            pid
            for (pid,) in postgresql.execute(
                f"select pid from pg_stat_activity where {kind} and pid <> pg_backend_pid()"
            )
        }

    return backends


def threads(kind):
    return [one for one in threading.enumerate() if one.name == f"eskernel-{kind}"]


def listening(store):
    """Return hints, and how to end them, of a store that has begun to listen."""
    hints = Hints()
    stop = store.on_append(hints)
    eventually(lambda: hints.number)
    return hints, stop


@pytest.fixture
def quiet(postgresql):
    """No notice of an earlier test is under way."""
    eventually(lambda: not threads("notifier") and not threads("listener"))


def test_an_append_tells_who_listens_at_another_store(store, open_sql, postgresql_url):
    assert isinstance(store, HintingEventStore)
    hints, _ = listening(open_sql(postgresql_url))
    assert hints.after(lambda: append(store, STREAM, "a")) < 1
    assert hints.after(lambda: append(store, STREAM, "b")) < 1


def test_an_append_of_another_process_tells_within_100_milliseconds(store, postgresql_url):
    hints, _ = listening(store)
    program = start_program(
        f"""
        with closing(open_store({str(postgresql_url)!r})) as store:
            append(store, STREAM, "first")  # opens the connections
            for number in range(20):
                sys.stdin.readline()
                append(store, STREAM, number)
                say("appended")
        """
    )

    def append_there():
        program.stdin.write("\n")
        program.stdin.flush()
        program.stdout.readline()

    with program:
        try:
            eventually(lambda: hints.number > 1, timeout=30)
            delays = []
            for _ in range(20):
                before = hints.number
                append_there()
                appended = time.monotonic()
                eventually(lambda before=before: hints.number > before)
                delays.append(hints.last - appended)
        finally:
            program.kill()
    assert sorted(delays)[10] < 0.1, delays  # but for what else the machine does


def test_many_appends_share_few_notices(quiet, store):
    hints, _ = listening(store)
    before, began = hints.number, time.monotonic()
    for number in range(300):
        store.append(STREAM, made(STREAM, number, "a"), expected_sequence=number)
    took = time.monotonic() - began
    time.sleep(0.1)  # for the last of them
    assert 1 <= hints.number - before <= took / 0.01 + 3


def test_an_append_that_fails_tells_nobody(quiet, store, backends):
    with pytest.raises(ConcurrencyConflict):
        store.append(STREAM, made(STREAM, 7, "a"), expected_sequence=7)
    assert not threads("notifier")
    hints, _ = listening(store)
    append(store, STREAM, "a")
    eventually(lambda: hints.number == 2)
    with pytest.raises(ConcurrencyConflict):
        store.append(STREAM, made(STREAM, 7, "a"), expected_sequence=7)
    with pytest.raises(ValueError, match="at least one event"):
        store.append(STREAM, [], expected_sequence=1)
    time.sleep(0.1)  # in which none must come
    assert hints.number == 2


def test_reading_starts_no_thread(quiet, store):
    assert store.last_position() == 0
    assert not threads("notifier")
    assert not threads("listener")


def test_the_transaction_that_appends_sends_no_notice(store, postgresql_url, backends):
    """Otherwise the server would make all who append commit one after another."""
    with psycopg.connect(str(postgresql_url), autocommit=True) as connection:
        connection.execute(f"LISTEN {CHANNEL}")
        append(store, STREAM, "a")
        (source,) = connection.execute(
            "select prosrc from pg_proc where proname = 'eskernel_append' "
            "and pronamespace = current_schema()::regnamespace"
        ).fetchone()
        (notice,) = connection.notifies(timeout=5, stop_after=1)
    assert "notify" not in source.lower()
    assert notice.channel == CHANNEL
    assert notice.pid in backends(NOTIFIERS)


def test_appends_go_on_when_the_one_who_notifies_has_lost_its_connection(
    store, postgresql, backends
):
    hints, _ = listening(store)
    hints.after(lambda: append(store, STREAM, "a"))
    for number in range(3):
        killed = backends(NOTIFIERS)
        assert killed
        postgresql.execute(
            f"select pg_terminate_backend(pid) from pg_stat_activity where {NOTIFIERS} "
            "and pid <> pg_backend_pid()"
        )
        eventually(lambda killed=killed: not killed & backends("true"))
        assert hints.after(lambda number=number: append(store, OTHER, number)) < 3


def test_the_listener_finds_its_way_back_and_tells_of_what_it_missed(store, postgresql, backends):
    hints, _ = listening(store)
    for _ in range(3):
        before = hints.number
        killed = eventually(lambda: backends(LISTENERS))
        with structlog.testing.capture_logs() as logs:
            postgresql.execute(
                f"select pg_terminate_backend(pid) from pg_stat_activity where {LISTENERS}"
            )
            eventually(lambda before=before: hints.number > before)
        assert [log["event"] for log in logs] == ["hints_interrupted"]
        assert not killed & backends(LISTENERS)
        assert hints.after(lambda: append(store, STREAM, "a")) < 3


def test_hints_survive_a_restart_of_the_server(postgresql_to_kill, store):
    hints, _ = listening(store)
    hints.after(lambda: append(store, STREAM, "a"))
    before = hints.number
    postgresql_to_kill.kill()
    with pytest.raises(StoreUnavailable):
        append(store, STREAM, "b")
    postgresql_to_kill.start()
    eventually(lambda: hints.number > before, timeout=20)
    assert hints.after(lambda: append(store, STREAM, "b"), timeout=20) < 20


def test_who_has_stopped_is_not_told_any_more(store):
    first, stop_first = listening(store)
    second = Hints()
    stop_second = store.on_append(second)
    stop_first()
    stop_first()
    before = first.number
    second.after(lambda: append(store, STREAM, "a"))
    assert first.number == before
    stop_second()
    stop_second()
    eventually(lambda: not threads("listener"))
    again, stop_again = listening(store)
    assert again.after(lambda: append(store, STREAM, "b")) < 3
    stop_first()
    assert threads("listener")
    stop_again()
    eventually(lambda: not threads("listener"))


def test_closing_ends_the_threads_and_their_connections(quiet, store, backends):
    _, stop = listening(store)
    append(store, STREAM, "a")
    eventually(lambda: backends(NOTIFIERS))
    assert threads("notifier")
    store.close()
    assert not threads("notifier")
    assert not threads("listener")
    eventually(lambda: not backends(NOTIFIERS) and not backends(LISTENERS))
    stop()
    store.close()
    store.on_append(Hints())()
    assert not threads("listener")


def test_closing_tells_of_what_was_just_appended(store, open_sql, postgresql_url, monkeypatch):
    monkeypatch.setattr("eskernel_stores.sql.notifier.INTERVAL", 60)
    hints, _ = listening(store)
    other = open_sql(postgresql_url)
    hints.after(lambda: append(other, STREAM, "a"))
    append(other, STREAM, "b")
    assert hints.number == 2  # the next notice is held back
    assert hints.after(other.close) < 3


def test_the_store_can_be_closed_and_hints_stopped_by_who_is_told(store):
    closed = threading.Event()
    stops = []

    def tell():
        if stops:
            stops[0]()
            store.close()
            closed.set()

    stops.append(store.on_append(tell))
    assert closed.wait(5)
    eventually(lambda: not threads("listener"))


def test_a_function_that_fails_keeps_others_from_nothing(store):
    def fail():
        raise ZeroDivisionError

    listening(store)
    hints = Hints()
    with structlog.testing.capture_logs() as logs:
        store.on_append(fail)
        store.on_append(hints)
        hints.after(lambda: append(store, STREAM, "a"))
    assert {log["event"] for log in logs} == {"hint_failed"}


def test_a_forked_child_starts_nothing_of_its_parents(postgresql_url):
    program = start_program(
        f"""
        import threading
        with closing(open_store({str(postgresql_url)!r})) as store:
            append(store, STREAM, "a")
            stop = store.on_append(lambda: None)
            child = os.fork()
            if not child:
                store.on_append(lambda: None)()
                stop()
                store._backend._notices.appended()
                store.close()
                os._exit(threading.active_count() - 1)
            say(os.waitpid(child, 0)[1])
            append(store, STREAM, "b")
        """
    )
    with program:
        out, errors = program.communicate(timeout=60)
    assert (out, errors, program.returncode) == ("0\n", "", 0)


def test_appends_of_many_threads_tell_without_an_error(store):
    hints, _ = listening(store)
    before = hints.number

    def write(number):
        stream = ("t", str(number))
        for sequence in range(20):
            store.append(stream, made(stream, sequence, "x"), expected_sequence=sequence)

    run_threads(*[lambda n=n: write(n) for n in range(8)])
    eventually(lambda: hints.number > before)
    assert len(threads("notifier")) == 1


def test_sqlite_gives_no_hints_but_may_be_asked(sqlite_url, open_sql):
    with closing(open_sql(sqlite_url)) as store:
        hints = Hints()
        stop = store.on_append(hints)
        append(store, STREAM, "a")
        stop()
        stop()
    assert hints.number == 0
    assert not threads("listener")
