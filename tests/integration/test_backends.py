"""The README's table of stores is true: every cell is looked up, and what it says is tried."""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from backends import BACKENDS, SERVERS, new_url
from nats_servers import events_of
from sql_helpers import start_program
from support import eventually
from test_readme import table_under

from eskernel.contracts import HintingEventStore, TableStore
from eskernel.errors import ConcurrencyConflict, StoreUnavailable
from eskernel.testing import check_power_cuts
from eskernel.values import Event
from eskernel_stores import open_store

STREAM = ("bank_account", "acc-1")
COLUMNS = ("store", "needs", "shared by", "survives", "others' appends", "tables", "choose it for")
SCHEMES = {"memory": "memory", "file": "file", "sqlite": "sqlite", "postgresql": "postgresql"} | {
    "nats": "jetstream",
    "mongodb": "mongo",
}
ROWS = {SCHEMES[row[0].strip("`").split(":")[0]]: row[1:] for row in table_under("Choose a store")}
CELLS = [
    pytest.param(kind, column, cell, id=f"{kind}-{column}")
    for kind, row in ROWS.items()
    for column, cell in zip(COLUMNS, row, strict=True)
]

_APPEND = """
from eskernel_stores import open_store
store = open_store({url!r})
event = Event({stream!r}, {sequence} + 1, "happened", {sequence})
say(store.append({stream!r}, [event], expected_sequence={sequence}))
os.kill(os.getpid(), 9)
"""


class Backend:
    """A backend under test, with one store of it."""

    def __init__(self, kind: str, path: Path, request: Any, stores: ExitStack) -> None:
        self.kind = kind
        self._request = request
        self._path = path
        self._stores = stores
        self.url = new_url(kind, path / "events", request)
        self.store = self.open()

    def open(self) -> Any:
        return self._stores.enter_context(closing(open_store(self.url)))

    def new_url(self) -> str:
        return new_url(self.kind, self._path / "others", self._request)

    def server(self) -> Any:
        """Return the server, to kill; skips the test where it is not ours."""
        name = "nats" if self.kind == "jetstream" else self.kind
        return self._request.getfixturevalue(f"{name}_to_kill")

    def append(self, number: int = 0) -> None:
        event = Event(STREAM, number + 1, "happened", number)
        self.store.append(STREAM, [event], expected_sequence=number)

    def append_elsewhere(self, number: int = 0) -> None:
        """Append in another process, which is killed as soon as it has its answer."""
        source = _APPEND.format(url=self.url, stream=STREAM, sequence=number)
        with start_program(source) as program:
            out, errors = program.communicate(timeout=60)
        assert (program.returncode, errors) == (-signal.SIGKILL, ""), errors
        assert int(out) > 0

    def payloads(self, store: Any = None) -> list[Any]:
        payloads: list[Any] = (store or self.store).fold(
            STREAM, lambda found, e: [*found, e.payload], []
        )
        return payloads


@pytest.fixture
def make_backend(tmp_path: Path, request: Any) -> Iterator[Callable[[str], Backend]]:
    with ExitStack() as stores:
        folders = (tmp_path / str(number) for number in itertools.count())

        def make(kind: str) -> Backend:
            folder = next(folders)
            folder.mkdir()
            return Backend(kind, folder, request, stores)

        yield make


# Each of these tries what a cell says, and fails if it is not so.


def needs_nothing(backend: Backend, monkeypatch: Any) -> None:
    for driver in ("psycopg", "nats", "pymongo"):
        monkeypatch.setitem(sys.modules, driver, None)
    open_store(backend.new_url()).close()


def needs_file_locks(backend: Backend, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    for name in [name for name in sys.modules if name.startswith("eskernel_stores.file")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ModuleNotFoundError, match="Linux or macOS"):
        open_store(backend.new_url())


def needs(extra: str, driver: str) -> Callable[[Backend, Any], None]:
    def check(backend: Backend, monkeypatch: Any) -> None:
        monkeypatch.setitem(sys.modules, driver, None)
        with pytest.raises(ModuleNotFoundError, match=rf"eskernel\[{extra}\]"):
            open_store(backend.new_url())
        assert urlsplit(backend.url).netloc, "a server's"

    return check


def is_shared_by_threads_only(backend: Backend, _: Any) -> None:
    threads = [threading.Thread(target=backend.append)]
    for thread in threads:
        thread.start()
        thread.join()
    assert backend.payloads() == [0]
    try:
        other = backend.open()
    except StoreUnavailable:  # it is locked
        return
    assert backend.payloads(other) == []


def is_shared_by_processes(backend: Backend, _: Any) -> None:
    backend.append_elsewhere(0)
    backend.append(1)
    backend.append_elsewhere(2)
    assert backend.payloads() == [0, 1, 2]
    assert not urlsplit(backend.url).netloc, "it could be shared by many machines"


def is_shared_by_machines(backend: Backend, _: Any) -> None:
    backend.append_elsewhere(0)
    backend.append(1)
    assert backend.payloads() == [0, 1]
    assert urlsplit(backend.url).netloc


def survives_nothing(backend: Backend, _: Any) -> None:
    backend.append()
    backend.store.close()
    assert backend.payloads(backend.open()) == []


def survives_a_killed_process(backend: Backend, _: Any) -> None:
    backend.store.close()  # or a file would be locked
    backend.append_elsewhere()
    assert backend.payloads(backend.open()) == [0]


def survives_power_cuts(backend: Backend, _: Any) -> None:
    if backend.kind in SERVERS:
        backend.append()
        server = backend.server()
        if backend.kind == "jetstream":
            server.kill_all()
            server.heal_all()
        else:
            server.kill()
            server.start()
        eventually(lambda: _payloads_or_none(backend) == [0], timeout=30)
        return
    url = {"file": "file://{folder}", "sqlite": "sqlite:///{folder}/events.db"}[backend.kind]
    options = {"recorder": "library"} if backend.kind == "sqlite" else {}
    if options and shutil.which("cc") is None:
        pytest.skip("recording what SQLite writes needs a C compiler")
    assert check_power_cuts(open_store, url, cuts=5, rounds=1, **options).acknowledged


def survives_the_loss_of_one_machine(backend: Backend, _: Any) -> None:
    backend.append()
    cluster = backend.server()
    cluster.kill(cluster.leader_of(events_of(backend.url)))
    eventually(lambda: _appends(backend, 1), timeout=30)
    assert backend.payloads() == [0, 1]


def _payloads_or_none(backend: Backend) -> list[Any] | None:
    try:
        return backend.payloads()
    except StoreUnavailable:
        return None


def _appends(backend: Backend, number: int) -> bool:
    try:
        backend.append(number)
    except StoreUnavailable:
        return False
    except ConcurrencyConflict:  # the append before this one was stored
        return True
    return True


def has_no_others(backend: Backend, _: Any) -> None:
    is_shared_by_threads_only(backend, _)


def is_polled(backend: Backend, _: Any) -> None:
    if isinstance(backend.store, HintingEventStore):
        told = threading.Event()
        backend.store.on_append(told.set)
        backend.append_elsewhere()
        assert not told.wait(0.2)


def is_hinted_at(backend: Backend, _: Any) -> None:
    told = threading.Event()
    backend.store.on_append(told.set)
    backend.append_elsewhere()
    assert told.wait(10)


def has_tables(backend: Backend, _: Any) -> None:
    assert isinstance(backend.store, TableStore)


def has_no_tables(backend: Backend, _: Any) -> None:
    assert not isinstance(backend.store, TableStore)


def is_empty_each_time(backend: Backend, _: Any) -> None:
    backend.append()
    assert backend.open().last_position() == 0


def is_readable(backend: Backend, _: Any) -> None:
    backend.append()
    (log,) = Path(urlsplit(backend.url).path).glob("log-*")
    assert json.loads(log.read_text(encoding="utf-8"))["stream"] == [*STREAM]


def is_one_file_for_all(backend: Backend, _: Any) -> None:
    is_shared_by_processes(backend, _)
    has_tables(backend, _)


def is_a_server_with_tables(backend: Backend, _: Any) -> None:
    is_shared_by_machines(backend, _)
    has_tables(backend, _)


def is_a_document_database(backend: Backend, _: Any) -> None:
    from pymongo import MongoClient  # noqa: PLC0415 - only for tests that need it

    backend.append()
    with MongoClient(backend.url) as client:
        (append,) = client.get_default_database()["events"].find()
    assert (append["aggregate_type"], append["aggregate_id"]) == STREAM


TRIALS: dict[str, dict[str, Callable[[Backend, Any], None]]] = {
    "needs": {
        "nothing": needs_nothing,
        "Linux or macOS": needs_file_locks,
        "`eskernel[postgres]` and a server": needs("postgres", "psycopg"),
        "`eskernel[nats]` and three servers": needs("nats", "nats"),
        "`eskernel[mongo]` and a replica set": needs("mongo", "pymongo"),
    },
    "shared by": {
        "threads": is_shared_by_threads_only,
        "processes of one machine": is_shared_by_processes,
        "processes of many machines": is_shared_by_machines,
    },
    "survives": {
        "nothing": survives_nothing,
        "killed processes": survives_a_killed_process,
        "power cuts": survives_power_cuts,
        "the loss of one machine of three": survives_the_loss_of_one_machine,
    },
    "others' appends": {"none": has_no_others, "polled": is_polled, "hinted at": is_hinted_at},
    "tables": {"yes": has_tables, "no": has_no_tables},
    "choose it for": {
        "tests": is_empty_each_time,
        "a log to read, search and copy with any tool": is_readable,
        "most services on one machine": is_one_file_for_all,
        "several machines": is_a_server_with_tables,
        "service without a pause when a machine is lost, and without a database": (
            survives_the_loss_of_one_machine
        ),
        "events beside the documents you have": is_a_document_database,
    },
}


@pytest.mark.parametrize(("kind", "column", "cell"), CELLS)
def test_a_cell_of_the_table_of_stores_is_true(
    make_backend: Callable[[str], Backend], monkeypatch: Any, kind: str, column: str, cell: str
) -> None:
    if column == "store":
        assert f"`{type(make_backend(kind).store).__name__}`" == cell
        return
    trials = TRIALS[column]
    for phrase in [cell] if cell in trials else cell.split(", "):
        assert phrase in trials, f"nothing here tries what the table says: {phrase}"
        with monkeypatch.context() as patching:
            trials[phrase](make_backend(kind), patching)


def test_the_table_of_stores_has_every_backend() -> None:
    assert tuple(ROWS) == BACKENDS
