"""What the README's table of stores says, to be tried: `TRIALS` has a function for each cell.

Each tries what a cell says, and fails if it is not so.
"""

from __future__ import annotations

import json
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from backends import SERVERS
from nats_servers import events_of
from support import eventually, run_threads
from tried_backend import STREAM, Backend

from eskernel.contracts import HintingEventStore, TableStore
from eskernel.errors import ConcurrencyConflict, StoreUnavailable
from eskernel.testing import check_power_cuts
from eskernel_stores import open_store


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
    run_threads(backend.append)
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
        "power cuts [if so configured](#a-cluster-of-nats-servers)": survives_power_cuts,
        "the loss of one machine of three": survives_the_loss_of_one_machine,
    },
    "others' appends": {
        "none": is_shared_by_threads_only,
        "polled": is_polled,
        "hinted at": is_hinted_at,
    },
    "tables": {"yes": has_tables, "no": has_no_tables},
    "choose it for": {
        "tests": is_empty_each_time,
        "a log to read, search and copy with any tool": is_readable,
        "most services on one machine": is_one_file_for_all,
        "several machines": is_a_server_with_tables,
        "service that goes on within seconds when a machine is lost, and no database": (
            survives_the_loss_of_one_machine
        ),
        "events beside the documents you have": is_a_document_database,
    },
}
