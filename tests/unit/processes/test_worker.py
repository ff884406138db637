"""A worker serves its parent, says what goes wrong, and ends with it."""

from __future__ import annotations

import signal
import socket
import threading
from types import SimpleNamespace

import pytest
import remote_domain
from remote_domain import TYPE
from structlog.testing import capture_logs
from support import eventually
from worker_in_thread import WorkerInThread, setup_of

from eskernel import Command
from eskernel.errors import InvalidDomain, KernelStopped, NotImportable, StoreUnavailable
from eskernel.processes.channel import Channel
from eskernel.processes.worker import _watch
from eskernel.remote.failures import fields_to_failure
from eskernel.remote.host import Host

DOMAINS = {TYPE: remote_domain}


@pytest.fixture(autouse=True)
def _quiet_log():
    with capture_logs():
        yield


@pytest.fixture
def worker(monkeypatch):
    worker = WorkerInThread(monkeypatch)
    yield worker
    worker.channel.close()
    worker.ended()
    worker.channel.dispose()


def test_a_worker_serves_until_it_is_told_to_stop(worker):
    front = worker.serve(setup_of(DOMAINS))
    assert front.dispatch(Command(TYPE, "a", "note", 1)).sequence == 1
    assert front.state_of(TYPE, "a") == ([1], 1)
    assert front.stop()
    assert worker.ended() == [0]
    with pytest.raises(KernelStopped):
        front.dispatch(Command(TYPE, "a", "note", 1))


def test_what_was_sent_ends_before_a_worker_stops(worker, tmp_path, monkeypatch):
    draining = threading.Event()

    class Draining(Host):
        def drain(self, timeout):
            draining.set()
            return super().drain(timeout)

    monkeypatch.setattr("eskernel.processes.worker.Host", Draining)
    front = worker.serve(setup_of(DOMAINS))
    go = tmp_path / "x.go"
    futures = [front.submit(Command(TYPE, "a", "wait", str(go)))]
    eventually(go.with_suffix(".begun").exists)
    futures += [front.submit(Command(TYPE, "a", "note", number)) for number in range(3)]
    eventually(lambda: not front.slot._waiting)
    stopping = threading.Thread(target=front.stop, daemon=True)
    stopping.start()
    assert draining.wait(10)
    go.touch()
    assert [future.result(10).sequence for future in futures] == [1, 2, 3, 4]
    stopping.join(10)
    assert worker.ended() == [0]


def test_a_worker_whose_parent_hangs_up_ends(worker):
    front = worker.serve(setup_of(DOMAINS))
    front.dispatch(Command(TYPE, "a", "note", 1))
    worker.channel.close()
    assert worker.ended() == [0]


def test_a_worker_that_is_told_to_end_by_a_signal_says_so_and_serves_on(worker):
    front = worker.serve(setup_of(DOMAINS))
    worker.handlers[signal.SIGTERM](signal.SIGTERM, None)
    assert front.left.wait(10)
    assert front.dispatch(Command(TYPE, "a", "note", 1)).sequence == 1
    assert front.stop()
    assert worker.ended() == [0]


def test_a_worker_whose_parent_is_gone_ends_whatever_it_waits_for(monkeypatch):
    exits = []
    fake = SimpleNamespace(getppid=lambda: 1, _exit=exits.append)
    monkeypatch.setattr("eskernel.processes.worker.os", fake)
    monkeypatch.setattr("eskernel.processes.worker._LONGEST", 0.0)
    ends = [Channel(one) for one in socket.socketpair()]
    _watch(ends[0], parent=2)
    assert exits == [1]
    for one in ends:
        with pytest.raises((EOFError, OSError)):
            one.receive()
        one.dispose()


def test_a_stranger_is_not_served(monkeypatch):
    worker = WorkerInThread(monkeypatch, key=b"?" * 32)
    with pytest.raises(Exception, match="digest"):
        worker.channel.authenticate(worker.key, first=True)
    worker.channel.close()
    assert worker.ended() == [1]
    worker.channel.dispose()


def test_a_parent_that_is_gone_before_all_is_ready_ends_its_worker(worker):
    worker.channel.authenticate(worker.key, first=True)
    worker.channel.close()
    assert worker.ended() == [1]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"domains": {TYPE: "no.such.module"}}, InvalidDomain, "no.such.module"),
        ({"domains": {TYPE: "json"}}, InvalidDomain, "init"),
        ({"opener": "no:opener"}, NotImportable, "no:opener"),
        ({"clock": "remote_domain:no_clock"}, NotImportable, "no_clock"),
        ({"initializer": "remote_domain:initialize_badly"}, Exception, "no place to log to"),
        ({"event_store": "nothing://at/all"}, ValueError, "nothing:"),
        ({"event_store": "file:///proc/none"}, StoreUnavailable, "proc"),
        ({"clock": "json"}, TypeError, "clock"),
    ],
)
def test_what_is_wrong_with_a_setup_is_told_to_the_parent(worker, change, error, words):
    setup = setup_of(DOMAINS)
    for name, value in change.items():
        object.__setattr__(setup, name, value)
    fields = worker.prepare(setup)
    with pytest.raises(error, match=words):
        raise fields_to_failure(fields, {})
    assert worker.ended() == [1]
