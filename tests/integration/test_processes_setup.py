"""What is wrong with a ProcessKernel is said in the parent, by name; no process is left behind."""

from __future__ import annotations

import sys
import types

import psutil
import pytest
import remote_counting
import remote_domain
from free_ports import free_ports
from kernel_helpers import run_script
from remote_domain import TYPE
from structlog.testing import capture_logs
from support import eventually, is_alive

from eskernel import Command, ProcessKernel
from eskernel.errors import (
    EskernelError,
    InvalidDomain,
    InvalidProjection,
    NotImportable,
    StoreUnavailable,
)

DOMAINS = {TYPE: remote_domain}


@pytest.fixture(autouse=True)
def _no_process_is_left():
    before = set(psutil.Process().children(recursive=True))
    with capture_logs():
        yield
    eventually(
        lambda: (
            not [
                one
                for one in set(psutil.Process().children(recursive=True)) - before
                if is_alive(one)
            ]
        )
    )


def made(**options):
    """Return a kernel of one worker, made and not started."""
    named = {"domains": DOMAINS, "event_store": "memory:", "workers": 1, "spares": 0, **options}
    return ProcessKernel(named.pop("domains"), named.pop("event_store"), **named)


def module_of_this_process(monkeypatch, name, **functions):
    """Make a module that no other process can import."""
    module = types.ModuleType(name)
    vars(module).update(functions)
    monkeypatch.setitem(sys.modules, name, module)
    return module


# Before anything is started.


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"domains": {TYPE: "no.such.domain"}}, InvalidDomain, "'probe'.*no.such.domain"),
        ({"domains": {TYPE: "json"}}, InvalidDomain, "'probe' needs a function init"),
        ({"domains": {TYPE: object()}}, InvalidDomain, "'probe'"),
        ({"event_store": "file:///tmp/x"}, ValueError, "sqlite:"),
        ({"event_store": 7}, TypeError, "URL"),
        ({"projections": {"counts": remote_counting}}, InvalidProjection, "'counts'"),
        (
            {"event_store": "sqlite:///x.db", "projections": {"counts": "no.such.projection"}},
            InvalidProjection,
            "'counts'.*no.such.projection",
        ),
        ({"middleware": ["no.such:middleware"]}, NotImportable, "no.such:middleware"),
        ({"clock": "no.such:clock"}, NotImportable, "no.such:clock"),
        ({"opener": "no.such:opener"}, NotImportable, "no.such:opener"),
        ({"initializer": "no.such:initializer"}, NotImportable, "no.such:initializer"),
        ({"workers": 0}, ValueError, "workers"),
        ({"workers": 1.5}, ValueError, "workers"),
        ({"workers": True}, ValueError, "workers"),
        ({"spares": -1}, ValueError, "spares"),
        ({"in_flight_limit": 0}, ValueError, "in_flight_limit"),
        ({"shards": 0}, ValueError, "shards"),
        ({"lease_seconds": 0}, ValueError, "seconds"),
        ({"inbox_limit": 0}, ValueError, "inbox_limit"),
        ({"dispatch_timeout": None}, ValueError, "dispatch_timeout"),
    ],
)
def test_what_is_wrong_is_said_when_the_kernel_is_made(options, error, words):
    with pytest.raises(error, match=words):
        made(**options)


def test_a_domain_of_the_script_that_was_started_is_refused():
    run_script(
        """
        import sys
        from eskernel import ProcessKernel
        from eskernel.errors import InvalidDomain

        def init(): return 0
        def handle_command(command, state): return None
        def apply_event(payload, state): return state

        try:
            ProcessKernel({"mine": sys.modules["__main__"]}, "memory:")
        except InvalidDomain as error:
            assert "'mine'" in str(error) and "move it into a module" in str(error), error
        else:
            raise AssertionError("was taken")
        """
    )


def test_the_script_that_was_started_is_not_run_once_more_in_a_worker(tmp_path):
    printed = run_script(
        """
        print("once")
        from eskernel import Command, ProcessKernel
        import remote_domain

        with ProcessKernel({"probe": remote_domain}, "memory:", workers=1, spares=0) as kernel:
            print(kernel.dispatch(Command("probe", "a", "note", 1)).sequence)
        """
    )
    assert printed.split() == ["once", "1"]


# Found out by a worker.


def fails_to_start(kernel, error, words):
    with pytest.raises(error, match=words) as failure:
        kernel.start()
    assert kernel.stop()
    return failure.value


def test_a_domain_that_only_the_parent_can_import_is_named(monkeypatch):
    functions = {
        name: getattr(remote_domain, name) for name in ("init", "handle_command", "apply_event")
    }
    domain = module_of_this_process(monkeypatch, "made_here", version="1", **functions)
    fails_to_start(made(domains={"mine": domain}), InvalidDomain, "domain 'mine'.*made_here")


@pytest.mark.parametrize("role", ["middleware", "clock", "opener", "initializer"])
def test_what_else_only_the_parent_can_import_is_named(monkeypatch, role):
    module_of_this_process(monkeypatch, "made_here", thing=lambda *_: None)
    given = ["made_here:thing"] if role == "middleware" else "made_here:thing"
    fails_to_start(made(**{role: given}), NotImportable, "made_here:thing")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"initializer": remote_domain.initialize_badly}, OSError, "no place to log to"),
        ({"initializer": remote_domain.initialize_fatally}, EskernelError, "exit code 7"),
        ({"event_store": "nothing://at/all"}, ValueError, "nothing:"),
        ({"event_store": "sqlite:////proc/no/such/folder.db"}, StoreUnavailable, "no directory"),
        ({"clock": "json"}, TypeError, "clock"),
        ({"middleware": ["remote_domain:TYPE"]}, TypeError, "middleware"),
        ({"opener": "remote_domain:without_extra"}, ModuleNotFoundError, "extra"),
        ({"executable": "/no/such/python"}, FileNotFoundError, "/no/such/python"),
        ({"executable": "/bin/false"}, EskernelError, "exit code 1"),
    ],
)
def test_what_a_worker_cannot_do_is_raised_by_start(options, error, words):
    fails_to_start(made(**options), error, words)


def test_a_server_that_is_down_is_named():
    (port,) = free_ports(1)
    url = f"postgresql://nobody:secret@127.0.0.1:{port}/none"
    failure = fails_to_start(made(event_store=url), StoreUnavailable, str(port))
    assert "secret" not in str(failure)


def test_a_start_that_fails_can_be_tried_again(tmp_path):
    folder = tmp_path / "later"
    kernel = made(event_store=f"sqlite:///{folder}/events.db", initializer=remote_domain.be_quiet)
    fails_to_start(kernel, StoreUnavailable, "no directory")
    folder.mkdir()
    with kernel:
        assert kernel.dispatch(Command(TYPE, "a", "note", 1)).sequence == 1


def test_an_opener_of_ones_own_opens_the_stores(tmp_path):
    url = f"own:{tmp_path / 'events.db'}"
    with made(event_store=url, opener=remote_domain.open_own) as kernel:
        assert kernel.dispatch(Command(TYPE, "a", "note", 1)).sequence == 1
    assert (tmp_path / "events.db").exists()
