"""A server that speaks MongoDB's protocol, from the wheel `SecantusDB` or from the environment.

One of its own is a replica set of one node. It lives in a temporary folder, listens on a free port
of 127.0.0.1, syncs to disk, for durability is what is tested, and ends with the process that
started it, even a killed one.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from free_ports import free_ports
from pymongo import MongoClient
from pymongo.errors import ConnectionFailure
from support import eventually
from watcher import Watcher

VARIABLE = "ESKERNEL_TEST_MONGODB"
"""Names the environment variable with the URL of another replica set to test with."""

_HELLO = {"hello", "ismaster", "isMaster"}


class MongoServers:
    """A replica set that somebody else runs.

    Args:
        url: `mongodb://…`; the tests make databases there.
    """

    can_be_killed = False

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        self._names: list[str] = []

    def url(self, name: str = "") -> str:
        """Return the URL of the servers, or of a database there."""
        return self._url._replace(path=f"/{name}").geturl()

    def new_url(self) -> str:
        """Return the URL of a database that does not exist yet."""
        self._names.append(f"test_{uuid.uuid4().hex[:12]}")
        return self.url(self._names[-1])

    def drop(self) -> None:
        """Drop every database that was named here."""
        with self.client() as client:
            for name in self._names:
                client.drop_database(name)
        self._names.clear()

    def wait_for_quiet(self) -> None:
        """Return when no store is connected, so that nothing of a killed one is under way."""
        with self.client() as client:
            eventually(lambda: not _stores_at_work(client), timeout=20)

    def client(self, **options: Any) -> MongoClient[dict[str, Any]]:
        """Return a client of the servers, to close after use."""
        return MongoClient(self.url(), **options)


class MongoServer(MongoServers):
    """A server of our own, to start, stop and kill."""

    can_be_killed = True

    def __init__(self) -> None:
        (self.port,) = free_ports(1)
        super().__init__(f"mongodb://127.0.0.1:{self.port}")
        self._process: subprocess.Popen[bytes] | None = None
        self.folder = Path(tempfile.mkdtemp(prefix="mongo"))
        self._watcher = Watcher(self.folder, signal.SIGKILL)
        self._log = self.folder / "log"

    @property
    def pid(self) -> int:
        """Process id of the server; 0 if it does not run."""
        return self._process.pid if self._process else 0

    def start(self) -> MongoServer:
        """Start, recover if need be, and return when connections are accepted."""
        is_new = not (self.folder / "data").exists()
        program = Path(sys.executable).with_name("secantusd-py")
        where = ("--host", "127.0.0.1", "--port", str(self.port))
        what = ("--storage-path", str(self.folder / "data"), "--sync-on-commit")
        how = ("--enable-test-commands", "--log-level", "WARNING")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(program), *where, *what, *how],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
            )
        self._watcher.watch(self._process.pid)
        self._wait_until_ready()
        if is_new:
            self._make_files()
        return self

    def stop(self) -> None:
        """Stop in order; harmless if it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once by SIGKILL; `start` then recovers from the log."""
        self._end(signal.SIGKILL)

    @contextmanager
    def failing(self, *commands: str, skip: int = 0, times: int = 1, **how: Any) -> Iterator[None]:
        """Have some commands fail, of the next that come; none any more after the context.

        Args:
            commands: their names, as in the protocol: `findAndModify`.
            skip: how many of them are served first.
            times: how many fail then.
            how: `errorCode`, `closeConnection` or `writeConcernError`, as `failCommand` knows them.
        """
        point = {"configureFailPoint": "failCommand"}
        mode = {"skip": skip, "times": times}
        with self.client() as client:
            client.admin.command(
                {**point, "mode": mode, "data": {"failCommands": [*commands], **how}}
            )
        try:
            yield
        finally:
            with self.client() as client:
                client.admin.command({**point, "mode": "off"})

    @contextmanager
    def stepped_down(self, seconds: int) -> Iterator[None]:
        """Have it be no primary for so long; it is one again after the context."""
        with self.client(directConnection=True) as client:
            client.admin.command({"replSetStepDown": seconds, "force": True})
            try:
                yield
            finally:
                eventually(lambda: client.admin.command("hello")["isWritablePrimary"], timeout=60)

    def restart(self) -> MongoServer:
        """Stop in order and start again, on the same port."""
        self.stop()
        return self.start()

    def close(self) -> None:
        """End it and remove everything."""
        self.kill()
        self._watcher.close()

    def __enter__(self) -> MongoServer:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _end(self, how: int) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None
            self._watcher.watch()

    def _make_files(self) -> None:
        """Have it make the sixteen files that it spreads collections over, and a checkpoint.

        Killed after it has made one and before the next checkpoint, it could not be started again.
        """
        with self.client() as client:
            for number in range(18):  # their names happen to be spread over all
                client["first"][f"of {number}"].insert_one({})
            client.admin.command("fsync")
            client.drop_database("first")
        made = len(list((self.folder / "data").glob("secantus_documents_sh*")))
        if made != 16:
            raise RuntimeError(f"SecantusDB has made {made} files; choose other names")

    def _wait_until_ready(self, timeout: float = 60) -> None:
        deadline = time.monotonic() + timeout
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                    break
            except OSError as error:
                self._fail_after(deadline, error)
                time.sleep(0.01)
        try:
            with self.client(serverSelectionTimeoutMS=1000 * timeout) as client:
                client.admin.command("ping")
        except ConnectionFailure as error:
            self._fail_after(0, error)

    def _fail_after(self, deadline: float, error: Exception) -> None:
        ended = self._process is None or self._process.poll() is not None
        if ended or time.monotonic() > deadline:
            tail = self._log.read_text(errors="replace")[-4000:]
            raise RuntimeError(f"SecantusDB does not start: {tail}") from error


def _stores_at_work(client: MongoClient[dict[str, Any]]) -> list[Any]:
    """Return what connections of stores do, beside asking how the server is."""
    found = client.admin.command({"currentOp": 1, "$all": True})["inprog"]
    return [
        one["command"]
        for one in found
        if one.get("clientMetadata", {}).get("application") == {"name": "eskernel"}
        and one.get("active")
        and not _HELLO & one["command"].keys()
    ]
