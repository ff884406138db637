"""The tests' own PostgreSQL: killed, restarted, and gone with whoever started it."""

import os
import signal
import subprocess
import sys

import psutil
import psycopg
import pytest
from support import eventually, is_alive


def test_it_is_a_postgresql_that_syncs(postgresql):
    assert postgresql.execute("show fsync") == [("on",)]
    assert postgresql.execute("show server_encoding") == [("UTF8",)]
    assert int(postgresql.execute("show server_version_num")[0][0]) >= 150000


def test_each_schema_is_empty_and_apart(postgresql):
    one, other = postgresql.new_schema(), postgresql.new_schema()
    for url in (one, other):
        with psycopg.connect(url) as connection:
            connection.execute("create table kept (id int)")
    with psycopg.connect(one) as connection:
        connection.execute("insert into kept values (1)")
    with psycopg.connect(other) as connection:
        assert connection.execute("select count(*) from kept").fetchone() == (0,)


def test_connections_can_be_ended(postgresql, postgresql_url):
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        assert postgresql.terminate_connections() >= 1
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_what_was_committed_survives_the_end_of_the_server(postgresql_to_kill, end):
    server = postgresql_to_kill
    url = server.new_schema()
    with psycopg.connect(url) as connection:
        connection.execute("create table kept (id int)")
        connection.execute("insert into kept values (1)")
    children = psutil.Process(server.pid).children()
    assert children
    getattr(server, end)()
    assert not any(is_alive(child) for child in children)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
    server.start()
    with psycopg.connect(url) as connection:
        assert connection.execute("select id from kept").fetchall() == [(1,)]


STARTER = """
import sys
sys.path[:] = {path!r}
from postgresql_server import PostgresServer
server = PostgresServer().start()
print(server.pid, server.folder, flush=True)
sys.stdin.read()
"""


def test_it_ends_with_a_killed_owner_and_leaves_nothing(postgresql_to_kill):
    program = STARTER.format(path=sys.path)
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        pid, folder = owner.stdout.readline().split()
        server = psutil.Process(int(pid))
        assert is_alive(server)
        owner.send_signal(signal.SIGKILL)
    eventually(lambda: not is_alive(server), timeout=20)
    eventually(lambda: not os.path.exists(folder), timeout=20)
