"""SQLite files that are missing, locked, full, read-only, damaged or something else."""

import os
import shutil
import sqlite3
import subprocess
import tempfile
import threading
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from sqlalchemy import make_url
from store_helpers import (
    OTHER,
    STREAM,
    append,
    every_call_unavailable,
    logged,
    made,
    payloads,
    run_program,
    unavailable,
)

from eskernel.contracts import Commit
from eskernel.errors import CorruptStore, StoreUnavailable
from eskernel.values import Snapshot
from eskernel_stores.sql import SqlStore


def path_of(url):
    return Path(make_url(url).database)


def other_program(url):
    return closing(sqlite3.connect(path_of(url), isolation_level=None))


def execute(url, statement, *parameters):
    with other_program(url) as connection:
        connection.execute(statement, parameters)


@pytest.fixture
def written(sqlite_url):
    """The URL of a database with events that no store has open."""
    with closing(SqlStore(sqlite_url)) as store:
        append(store, STREAM, *range(200))
        append(store, OTHER, "z")
    return sqlite_url


@pytest.fixture
def open_folder():
    """A folder that every account can reach."""
    folder = Path(tempfile.mkdtemp(prefix="sqltests_", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///file:events.db",
        "sqlite://host/events.db",
        "sqlite+aiosqlite:///events.db",
        "postgresql+psycopg2://host/database",
        "mysql://host/database",
        "events.db",
        "",
    ],
)
def test_a_url_of_no_file_is_refused(url):
    with pytest.raises(ValueError, match=r"sqlite") as caught:
        SqlStore(url)
    assert "///" in str(caught.value) or "knows" in str(caught.value)


@pytest.mark.parametrize("synchronous", ["full", "", 2, "FULL; DROP TABLE eskernel_events", None])
def test_an_unknown_way_of_syncing_is_refused(sqlite_url, synchronous):
    with pytest.raises(ValueError, match=r"one of .*FULL"):
        SqlStore(sqlite_url, synchronous=synchronous)
    assert not path_of(sqlite_url).exists()


def test_a_folder_is_no_database(tmp_path):
    assert "is a directory" in str(unavailable(SqlStore, f"sqlite:///{tmp_path}"))


def test_a_missing_folder_is_named(tmp_path):
    error = unavailable(SqlStore, f"sqlite:///{tmp_path}/no/events.db")
    assert f"no directory {tmp_path}/no" in str(error)
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("content", [b"accounts\n" * 100, b"x", bytes(4096), os.urandom(10_000)])
def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path, content):
    path = tmp_path / "events.db"
    path.write_bytes(content)
    with pytest.raises(CorruptStore, match=r"events\.db"):
        SqlStore(f"sqlite:///{path}")
    assert path.read_bytes() == content


def test_another_programs_database_gains_tables_and_loses_none(sqlite_url):
    execute(sqlite_url, "CREATE TABLE of_theirs AS SELECT 1 AS number")
    with closing(SqlStore(sqlite_url)) as store:
        append(store, STREAM, "x")
    with other_program(sqlite_url) as connection:
        assert connection.execute("SELECT number FROM of_theirs").fetchall() == [(1,)]


def damaged_calls(store):
    return [
        lambda: payloads(store),
        lambda: logged(store),
        lambda: append(store, STREAM, "x"),
        lambda: store.append(OTHER, made(OTHER, 1, "x"), expected_sequence=1),
    ]


def overwrite(path, start, stop):
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"\xa5" * (stop - start))


def test_a_database_overwritten_in_the_middle_is_damaged(written):
    path = path_of(written)
    overwrite(path, 4096, path.stat().st_size)
    with pytest.raises(CorruptStore, match=r"events\.db is damaged"):
        use(written)


def use(url):
    with closing(SqlStore(url)) as store:
        logged(store)
        payloads(store)


def test_a_truncated_database_is_damaged(written):
    path = path_of(written)
    os.truncate(path, path.stat().st_size // 2 // 4096 * 4096)
    before = path.read_bytes()
    with pytest.raises(CorruptStore, match=r"events\.db is damaged"):
        use(written)
    assert path.read_bytes() == before


def test_a_database_damaged_while_it_is_open_stores_nothing_more(written, open_sql):
    store = open_sql(written)
    path = path_of(written)
    overwrite(path, 4096, path.stat().st_size)
    for call in damaged_calls(store):
        with pytest.raises(CorruptStore):
            call()


def test_a_file_taken_away_and_put_back_is_used_again(written):
    path = path_of(written)
    path.rename(path.with_suffix(".away"))
    path.mkdir()
    assert "is a directory" in str(unavailable(SqlStore, written))
    path.rmdir()
    path.with_suffix(".away").rename(path)
    use(written)


@pytest.mark.parametrize("lock", ["IMMEDIATE", "EXCLUSIVE"])
def test_a_file_locked_by_another_program_for_too_long_is_unavailable(written, open_sql, lock):
    store = open_sql(written, timeout=0.05)
    with other_program(written) as other:
        other.execute(f"BEGIN {lock}")
        other.execute("UPDATE eskernel_schema SET version = version")
        commits = [Commit(STREAM, made(STREAM, 200, "x"), 200), Commit(OTHER, made(OTHER, 1, 1), 1)]
        for error in store.append_batch(commits):
            assert isinstance(error, StoreUnavailable)
            assert not error.outcome_unknown
            assert "locked by another program for more than 0.05 seconds" in str(error)
        assert "locked" in str(unavailable(store.store, Snapshot(STREAM, 1, "state")))
        assert payloads(store, OTHER) == ["z"], "readers wait for no writer"
        other.execute("ROLLBACK")
    assert append(store, STREAM, "y") == 202


def test_a_lock_that_is_released_in_time_is_waited_for(written, open_sql):
    store = open_sql(written)
    with closing(sqlite3.connect(path_of(written), check_same_thread=False)) as other:
        other.execute("UPDATE eskernel_schema SET version = version")
        releasing = threading.Timer(0.05, other.commit)
        releasing.start()
        assert append(store, STREAM, "x") == 202
        releasing.join()


def test_a_file_held_exclusively_cannot_be_opened_and_says_why(written):
    with other_program(written) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("UPDATE eskernel_schema SET version = version")
        assert "locked by another program" in str(unavailable(SqlStore, written, timeout=0.05))
    use(written)


def test_a_writer_opened_again_while_the_file_is_held_is_told_so(written, open_sql):
    store = open_sql(written, timeout=0.05)
    store._database._backend.engine.dispose()
    with other_program(written) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("UPDATE eskernel_schema SET version = version")
        error = unavailable(store.append, OTHER, made(OTHER, 1, "x"), expected_sequence=1)
        assert "locked by another program" in str(error)
        assert not error.outcome_unknown
    assert append(store, OTHER, "y") == 202


REFUSING = """
    CREATE TRIGGER refuse BEFORE INSERT ON eskernel_events BEGIN SELECT RAISE(ABORT, 'no'); END
"""


@pytest.mark.parametrize("change", ["DROP TABLE eskernel_events", REFUSING])
@pytest.mark.parametrize("events", [1, 2])
def test_a_statement_that_fails_is_known_to_have_stored_nothing(written, open_sql, change, events):
    store = open_sql(written)
    execute(written, change)
    payloads = ["x"] * events
    error = unavailable(store.append, OTHER, made(OTHER, 1, *payloads), expected_sequence=1)
    assert not error.outcome_unknown
    assert "nothing was stored" in str(error)


def limit_pages(store, more):
    """Let the writer's connection use so many pages more."""
    connection = store._database._backend._writer.driver_connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + more}")


def test_a_full_database_stores_nothing_of_what_does_not_fit(written, open_sql):
    store = open_sql(written)
    append(store, OTHER, "w")
    before = logged(store)
    limit_pages(store, 4)
    commits = [
        Commit(STREAM, made(STREAM, 200, "x"), 200),
        Commit(OTHER, made(OTHER, 2, "x" * 99_000), 2),
    ]
    for error in store.append_batch(commits):
        assert isinstance(error, StoreUnavailable)
        assert not error.outcome_unknown
        assert "full" in str(error)
    assert logged(store) == before
    limit_pages(store, 10_000)
    assert append(store, STREAM, "y") == 203


def test_an_error_that_is_kept_keeps_no_file_open(written):
    store = SqlStore(written)
    append(store, OTHER, "w")
    limit_pages(store, 4)
    try:
        append(store, STREAM, "x" * 99_000)
    except StoreUnavailable as error:
        kept = error
    store.close()
    assert kept.__traceback__ is not None
    opened = {file.path for file in psutil.Process().open_files()}
    assert str(path_of(written)) not in opened


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_full_disk_stores_nothing_of_what_does_not_fit(open_folder, open_sql):
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "sqltests", str(open_folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        with closing(SqlStore(f"sqlite:///{open_folder}/events.db")) as store:
            append(store, STREAM, "x")
            stored = 1
            for number in range(1, 100):
                try:
                    append(store, STREAM, os.urandom(40_000))
                except StoreUnavailable as error:
                    assert not error.outcome_unknown, error
                    assert "nothing was stored" in str(error)
                    break
                stored = number + 1
            else:
                raise AssertionError("the disk never filled up")
            assert len(payloads(store)) == stored
            subprocess.run(["mount", "-o", "remount,size=4m", str(open_folder)], check=True)
            append(store, STREAM, os.urandom(40_000))
            assert len(payloads(store)) == stored + 1
    finally:
        subprocess.run(["umount", str(open_folder)], check=True)


AS_NOBODY = """
    if os.geteuid() == 0:
        import encodings.idna, sqlalchemy.dialects.sqlite, pwd  # while the files can be read
        with closing(open_store({warm!r})) as store:
            append(store, STREAM, "warm")
            logged(store)
        unavailable(open_store, "sqlite:////no/such/folder")
        nobody = pwd.getpwnam("nobody")
        os.setgroups([])
        os.setgid(nobody.pw_gid)
        os.setuid(nobody.pw_uid)
    {body}
"""


def test_a_folder_that_may_not_be_written_is_said(open_folder, sqlite_url):
    open_folder.chmod(0o555)
    body = f"""
    error = unavailable(open_store, "sqlite:///{open_folder}/events.db")
    assert not error.outcome_unknown
    assert "events.db" in str(error), error
    say(error)
    """
    (said,) = run_program(AS_NOBODY.format(warm=sqlite_url, body=body))
    assert "unable to open" in said
    assert list(open_folder.iterdir()) == []


def test_a_file_that_may_not_be_written_refuses_appends(open_folder, sqlite_url):
    url = f"sqlite:///{open_folder}/events.db"
    with closing(SqlStore(url)) as store:
        append(store, STREAM, "x")
    path_of(url).chmod(0o444)
    open_folder.chmod(0o555)
    before = path_of(url).read_bytes()
    body = f"""
    error = unavailable(open_store, {url!r})
    assert not error.outcome_unknown
    say(error)
    """
    (said,) = run_program(AS_NOBODY.format(warm=sqlite_url, body=body))
    assert "events.db" in said
    assert path_of(url).read_bytes() == before


def test_a_closed_store_says_so(written):
    store = SqlStore(written)
    append(store, OTHER, "x")
    store.close()
    store.close()
    for error in every_call_unavailable(store, 200):
        assert not error.outcome_unknown
        assert "closed" in str(error)


def test_an_append_that_meets_the_close_is_told_so(written):
    store = SqlStore(written)
    backend = store._database._backend
    backend.close()  # after the store has looked whether it is open
    error = unavailable(store.append, OTHER, made(OTHER, 1, "x"), expected_sequence=1)
    assert "closed" in str(error)
    assert not error.outcome_unknown
    store.close()


def test_a_forked_child_is_refused_and_the_parent_goes_on(sql_url):
    said = run_program(
        f"""
        store = open_store({sql_url!r})
        append(store, STREAM, "parent")
        child = os.fork()
        if not child:
            try:
                for call in (lambda: append(store, STREAM, "x"), store.last_position):
                    assert "forked" in str(unavailable(call))
                store.close()
                with closing(open_store({sql_url!r})) as own:
                    say(append(own, OTHER, "child"))
                del store
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        append(store, STREAM, "parent again")
        say(logged(store))
        store.close()
        """
    )
    assert said == ["2", "['parent', 'child', 'parent again']"]
