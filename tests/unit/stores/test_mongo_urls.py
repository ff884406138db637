"""URLs of MongoStore: what they name, what they cannot change, and what they must not tell."""

from contextlib import closing

import pytest

from eskernel.errors import StoreUnavailable
from eskernel_stores.mongo import MongoStore
from eskernel_stores.mongo.database import Database


def database(url):
    return closing(Database(url, 0.2))


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("mongodb://127.0.0.1:1/bank", "bank"),
        ("mongodb://127.0.0.1:1", "eskernel"),
        ("mongodb://127.0.0.1:1/", "eskernel"),
        ("mongodb://127.0.0.1:1,127.0.0.1:2/bank?replicaSet=rs0", "bank"),
        ("mongodb://user:secret@127.0.0.1:1/bank?authSource=admin", "bank"),
    ],
)
def test_the_path_names_the_database(url, name):
    with database(url) as one:
        assert one.name == name


@pytest.mark.parametrize(
    "url",
    [
        "mongo://127.0.0.1/bank",
        "postgresql://127.0.0.1/bank",
        "mongodb://",
        "mongodb://127.0.0.1:port/bank",
        "mongodb://127.0.0.1/ba.nk",
        "mongodb://user:sec/ret@127.0.0.1/bank",
        "mongodb://user:sec/ret@secret@127.0.0.1:port/bank",
        "mongodb://user:secret@127.0.0.1:port/bank",
        None,
    ],
)
def test_what_is_no_url_is_refused_without_its_password(url):
    with pytest.raises(ValueError) as caught:
        MongoStore(url)
    for error in (caught.value, caught.value.__cause__):
        assert "secret" not in str(error)
        assert "sec/ret" not in str(error)


def test_options_cannot_weaken_what_a_store_promises():
    weak = "w=1&journal=false&readConcernLevel=local&readPreference=secondary&retryWrites=false"
    with database(f"mongodb://127.0.0.1:1/bank?{weak}") as one:
        events = one.collection("events")
        assert events.write_concern.document == {"w": "majority", "j": True}
        assert events.read_concern.level == "majority"
        assert events.read_preference.mongos_mode == "primary"
        assert one._client.options.retry_writes


def test_a_server_that_is_not_there_is_named_and_the_password_is_not():
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1") as caught:
        MongoStore("mongodb://user:secret@127.0.0.1:1/bank", timeout=0.2)
    assert "secret" not in str(caught.value)
    assert not caught.value.outcome_unknown


def test_a_name_that_leads_to_no_servers_is_no_bad_url():
    with pytest.raises(StoreUnavailable):
        MongoStore("mongodb+srv://user:secret@cluster.invalid/bank", timeout=0.2)
