"""A setup travels whole, and what no worker could make of it is refused at once."""

from __future__ import annotations

import sys
import time
import types

import pytest
import remote_counting
import remote_domain
from remote_domain import TYPE
from worker_in_thread import setup_of

from eskernel import Command, Projection
from eskernel.errors import InvalidDomain, InvalidProjection, NotImportable
from eskernel.remote.opening import OpenKernel, OpenStores
from eskernel.remote.setup import Setup
from eskernel_stores import open_store

DOMAINS = {TYPE: remote_domain}
SQLITE = "sqlite:///nowhere.db"


def lacking():
    """Return a module that is no domain, as if it had been written at run time."""
    module = types.ModuleType("lacking_domain")
    module.init = list
    module.handle_event = lambda event, state: state
    return module


def test_a_setup_comes_as_it_was():
    given = setup_of(
        {TYPE: remote_domain, "other": "domains.bank_account"},
        SQLITE,
        snapshot_store="memory:",
        checkpoint_store=SQLITE,
        projections={
            "counts": remote_counting,
            "other": "remote_counting",
            "elsewhere": Projection("remote_counting", "sqlite:///b.db", on_failure="park"),
        },
        middleware=[remote_domain.tagging, "remote_domain:failing"],
        clock="remote_domain:stopped_clock",
        initializer=remote_domain.initialize,
        snapshot_interval=7,
    )
    received = Setup.unpacked(given.packed())
    assert received == given
    assert received.domains == {TYPE: "remote_domain", "other": "domains.bank_account"}
    assert received.middleware == ("remote_domain:tagging", "remote_domain:failing")
    assert received.initializer == "remote_domain:initialize"
    path, url, options = received.projections["elsewhere"]
    assert (path, url, options["on_failure"]) == ("remote_counting", "sqlite:///b.db", "park")
    assert received.options["snapshot_interval"] == 7
    received.check_imports()
    wire = received.wire()
    assert set(wire.domains) == {TYPE, "other"}
    assert set(wire.projections) == {"counts", "other", "elsewhere"}


@pytest.mark.parametrize(
    ("domains", "error", "words"),
    [
        ([remote_domain], TypeError, "mapping"),
        ({"script": types.ModuleType("__main__")}, InvalidDomain, "'script'.*script"),
        ({"made": types.ModuleType("made")}, InvalidDomain, "'made'"),
        ({"object": types.SimpleNamespace()}, InvalidDomain, "'object'"),
        ({"number": 7}, InvalidDomain, "'number'"),
    ],
)
def test_domains_that_no_worker_could_import_are_refused(domains, error, words):
    with pytest.raises(error, match=words):
        setup_of(domains)


@pytest.mark.parametrize(
    ("domains", "words"),
    [
        ({TYPE: "no.such.module"}, "no.such.module"),
        ({TYPE: "json"}, "init"),
        ({"": "remote_domain"}, "aggregate type"),
        ({TYPE: "remote_domain:nothing"}, "nothing"),
    ],
)
def test_domains_that_are_none_are_refused_when_they_are_imported(domains, words):
    with pytest.raises(InvalidDomain, match=words):
        setup_of(domains).wire()


def test_a_domain_that_lacks_a_function_is_refused_by_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "lacking_domain", lacking())
    with pytest.raises(InvalidDomain, match=r"domain 'lame' needs a function handle_command"):
        setup_of({"lame": "lacking_domain"}).wire()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"event_store": None}, TypeError, "event_store must be a URL"),
        ({"event_store": 7}, TypeError, "event_store must be a URL"),
        ({"event_store": "file:///tmp/x"}, ValueError, "event_store.*one process"),
        ({"snapshot_store": "file:///tmp/x"}, ValueError, "snapshot_store.*one process"),
        ({"checkpoint_store": object()}, TypeError, "checkpoint_store"),
        ({"projections": [remote_counting]}, TypeError, "projections"),
        ({"middleware": "remote_domain:tagging"}, TypeError, "middleware"),
        ({"middleware": 7}, TypeError, "middleware"),
        ({"middleware": [lambda command, call_next: None]}, NotImportable, "lambda"),
        ({"clock": time.monotonic}, None, ""),
        ({"clock": remote_domain.StoppedClock()}, NotImportable, "StoppedClock"),
        ({"opener": lambda url: None}, NotImportable, "lambda"),
        ({"initializer": lambda: None}, NotImportable, "lambda"),
        ({"inbox_limit": 0}, ValueError, "inbox_limit"),
        ({"dispatch_timeout": -1}, ValueError, "dispatch_timeout"),
        ({"snapshot_interval": 1.5}, ValueError, "snapshot_interval"),
    ],
)
def test_options_that_no_worker_could_use_are_refused(options, error, words):
    event_store = options.pop("event_store", "memory:")
    if error is None:
        setup_of(DOMAINS, event_store, **options)
        return
    with pytest.raises(error, match=words):
        setup_of(DOMAINS, event_store, **options)


@pytest.mark.parametrize(
    ("event_store", "given", "error", "words"),
    [
        ("memory:", remote_counting, InvalidProjection, "'counts'.*all processes share"),
        ("memory:", Projection(remote_counting, SQLITE), InvalidProjection, "'counts'"),
        (SQLITE, Projection(remote_counting, "memory:"), InvalidProjection, "'counts'"),
        (SQLITE, Projection(remote_counting, "file:///x"), ValueError, "'counts'"),
        (SQLITE, Projection(remote_counting, object()), TypeError, "'counts'"),
        (SQLITE, types.ModuleType("made"), InvalidProjection, "'counts'"),
    ],
)
def test_projections_that_processes_cannot_share_are_refused(event_store, given, error, words):
    with pytest.raises(error, match=words):
        setup_of(DOMAINS, event_store, projections={"counts": given})


def test_a_projection_that_is_none_is_refused_when_it_is_imported():
    for path in ("no.such.module", "json"):
        with pytest.raises(InvalidProjection, match="'counts'"):
            setup_of(DOMAINS, SQLITE, projections={"counts": path}).wire()


@pytest.mark.parametrize(
    "options",
    [
        {"middleware": ["remote_domain:nothing"]},
        {"clock": "no:clock"},
        {"opener": "no:opener"},
        {"initializer": "no:initializer"},
    ],
)
def test_what_cannot_be_imported_is_found_out_before_anything_starts(options):
    with pytest.raises(NotImportable):
        setup_of(DOMAINS, **options).check_imports()


# Opening.


class Opened:
    """Opens stores, and notes which were opened and closed."""

    def __init__(self):
        self.opened, self.closed = [], []

    def __call__(self, url):
        if url == "broken:":
            raise ConnectionError("nobody there")
        self.opened.append(url)
        store = open_store(url)
        close = store.close
        store.close = lambda: (self.closed.append(url), close())
        return store


opener = Opened()


@pytest.fixture
def stores(monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "opener", Opened())
    return opener


def test_each_store_is_opened_once_and_closed(stores, tmp_path):
    urls = [f"sqlite:///{tmp_path / name}.db" for name in "abc"]
    setup = setup_of(
        DOMAINS,
        urls[0],
        snapshot_store=urls[1],
        checkpoint_store=urls[0],
        projections={
            "here": remote_counting,
            "there": Projection(remote_counting, urls[2], lease_seconds=9.0),
        },
        middleware=["remote_domain:tagging"],
        clock="remote_domain:stopped_clock",
        opener=f"{__name__}:opener",
        snapshot_interval=1,
    )
    opened = OpenKernel(setup, OpenStores(setup))
    with opened.kernel as kernel:
        done = kernel.dispatch(Command(TYPE, "a", "note", 1), wait_for=("here", "there"))
        assert done.events[0].timestamp == 1_000_000_500
        assert done.events[0].tags == ("passed",)
        assert kernel.projection("there").state == {"count": 1, "last": 1}
    opened.close()
    assert sorted(stores.opened) == urls
    assert sorted(stores.closed) == urls


def test_what_is_open_is_closed_when_the_rest_cannot_be_opened(stores):
    setup = setup_of(DOMAINS, "memory:", snapshot_store="broken:", opener=f"{__name__}:opener")
    with pytest.raises(ConnectionError):
        OpenKernel(setup, OpenStores(setup))
    assert stores.closed == stores.opened


def test_what_is_open_is_closed_when_the_kernel_cannot_be_made(stores, tmp_path):
    setup = setup_of(DOMAINS, opener=f"{__name__}:opener", clock="json")
    with pytest.raises(TypeError, match="clock"):
        OpenKernel(setup, OpenStores(setup))
    assert stores.closed == stores.opened == ["memory:"]
