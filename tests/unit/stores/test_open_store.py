"""From a URL to a store."""

import sys
from contextlib import closing
from dataclasses import dataclass

import pytest

from eskernel.errors import InvalidDomain, StoreUnavailable
from eskernel.values import Event
from eskernel_stores import MemoryStore, open_store
from eskernel_stores.file import FileStore
from eskernel_stores.sql import SqlStore

STREAM = ("bank_account", "acc-1")


@dataclass(frozen=True)
class Deposited:
    amount: int


def append(store, payload):
    return store.append(STREAM, [Event(STREAM, 1, "happened", payload)], expected_sequence=0)


def payloads(store):
    return store.fold(STREAM, lambda found, event: [*found, event.payload], [])


def test_memory_opens_a_new_empty_store_each_time():
    first, second = open_store("memory:"), open_store("memory:")
    assert type(first) is MemoryStore
    assert first is not second
    assert first.last_position() == 0


@pytest.mark.parametrize("url", ["", "bank.db", "memor:", "unheard-of:///of", None, 7, b"memory:"])
def test_what_names_no_store_is_refused_with_what_is_allowed(url):
    with pytest.raises(ValueError, match=r"allowed: .*memory:") as caught:
        open_store(url)
    assert repr(url) in str(caught.value)


@pytest.mark.parametrize("url", ["memory:bank", "memory://host/bank", "memory:?size=1"])
def test_a_memory_url_that_says_more_is_refused(url):
    with pytest.raises(ValueError, match="says more"):
        open_store(url)


def test_an_absolute_path_names_a_database_file(tmp_path):
    with closing(open_store(f"sqlite:///{tmp_path}/bank.db")) as store:
        assert type(store) is SqlStore
        append(store, "x")
    assert (tmp_path / "bank.db").is_file()
    with closing(open_store(f"sqlite:///{tmp_path}/bank.db")) as store:
        assert payloads(store) == ["x"]


@pytest.mark.parametrize("name", ["bank.db", "in a folder/b\u00e4nk.db", "./bank.db"])
def test_a_relative_path_is_one_from_the_working_folder(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in a folder").mkdir()
    with closing(open_store(f"sqlite:///{name}")) as store:
        append(store, "x")
        monkeypatch.chdir("/")
        assert payloads(store) == ["x"]
    assert (tmp_path / name).is_file()


@pytest.mark.parametrize("url", ["sqlite:", "sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused(url):
    with pytest.raises(ValueError, match="sqlite:///"):
        open_store(url)


def test_a_file_url_names_a_folder_and_its_escapes_stand_for_characters(tmp_path):
    (tmp_path / "my data").mkdir()
    with closing(open_store(f"file://{tmp_path}/my%20data/100%25%3F")) as store:
        assert type(store) is FileStore
        append(store, "x")
    assert (tmp_path / "my data" / "100%?").is_dir()
    with closing(open_store(f"file://{tmp_path}/my%20data/100%25%3F")) as store:
        assert payloads(store) == ["x"]


@pytest.mark.parametrize(
    "url",
    ["file:", "file:relative", "file://host/folder", "file:///folder?x=1", "file:///folder#x"],
)
def test_a_file_url_of_no_folder_is_refused_with_the_right_form(url):
    with pytest.raises(ValueError, match=r"file:///absolute/folder"):
        open_store(url)


@pytest.mark.parametrize("url", ["postgresql:", "postgresql://user@host:port/database"])
def test_a_malformed_database_url_is_refused_with_the_right_form(url):
    with pytest.raises(ValueError, match=r"postgresql://user:password@host/database"):
        open_store(url)


@pytest.mark.parametrize("hidden", ["psycopg"])
def test_a_driver_that_is_missing_is_named_with_its_extra(monkeypatch, hidden):
    monkeypatch.setitem(sys.modules, hidden, None)
    with pytest.raises(ModuleNotFoundError, match=r"install eskernel\[postgres\]") as caught:
        open_store("postgresql://user:password@127.0.0.1:1/database")
    assert caught.value.name == hidden
    assert "password" not in str(caught.value)
    open_store("memory:").close()


def test_an_unreachable_server_is_unavailable_and_its_password_is_not_shown():
    with pytest.raises(StoreUnavailable) as caught:
        open_store("postgresql://user:hunter2@127.0.0.1:1/database")
    assert "127.0.0.1" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_server_is_reached(postgresql_url):
    with closing(open_store(postgresql_url)) as store:
        assert type(store) is SqlStore
        assert append(store, "x") == 1


@pytest.mark.parametrize("url", ["memory:", "sqlite:///{}/bank.db", "file://{}/bank"])
def test_the_declared_types_are_handed_on(tmp_path, url):
    with closing(open_store(url.format(tmp_path), types=[Deposited])) as store:
        append(store, Deposited(5))
        assert payloads(store) == [Deposited(5)]
    if url != "memory:":
        with closing(open_store(url.format(tmp_path))) as store, pytest.raises(InvalidDomain):
            payloads(store)


@pytest.mark.parametrize(
    "url",
    [
        "postgres://user:secret@host/bank",
        "mysql://user:secret@host/bank",
        "postgresql://user:secret@host:port/bank",
        "postgresql://user:secret@[::1/bank",
        "file://user:secret@host/bank",
    ],
)
def test_no_message_shows_a_password(url):
    with pytest.raises(ValueError, match=r"user:\*\*\*@") as caught:
        open_store(url)
    assert "secret" not in str(caught.value)
