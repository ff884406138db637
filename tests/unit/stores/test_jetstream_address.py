"""What the URL of a JetStreamStore says, and that it never shows a secret."""

import pytest

from eskernel_stores.jetstream import JetStreamStore
from eskernel_stores.jetstream.connecting.address import Address


def test_a_host_is_enough():
    address = Address.of("nats://localhost")
    assert address.servers == ("nats://localhost:4222",)
    assert (address.name, address.replicas) == ("eskernel", 3)
    assert (address.user, address.password, address.token) == (None, None, None)


def test_everything_can_be_said():
    url = "tls://me:p%40ss@one:1,two:2,[::1]:3/orders-2?replicas=5"
    address = Address.of(url)
    assert address.servers == ("tls://one:1", "tls://two:2", "tls://[::1]:3")
    assert (address.user, address.password, address.token) == ("me", "p@ss", None)
    assert (address.name, address.replicas) == ("orders-2", 5)


def test_a_user_without_a_password_is_a_token():
    address = Address.of("nats://s3cret@one/x")
    assert (address.user, address.password, address.token) == (None, None, "s3cret")


@pytest.mark.parametrize(
    "url",
    [
        None,
        7,
        b"nats://one",
        "",
        "http://one",
        "nats://",
        "nats:///x",
        "nats://one,/x",
        "nats://one:port",
        "nats://one:99999",
        "nats://one/a.b",
        "nats://one/a/b",
        "nats://one/" + "x" * 65,
        "nats://one/x?replicas=0",
        "nats://one/x?replicas=6",
        "nats://one/x?replicas=",
        "nats://one/x?replicas=²",
        "nats://one/x?replica=3",
        "nats://one/x?nonsense",
        "nats://one/x#fragment",
    ],
)
def test_what_is_no_url_of_a_store_is_refused_with_its_form(url):
    with pytest.raises(ValueError, match="write nats://user:password@host:port"):
        JetStreamStore(url)


@pytest.mark.parametrize("login", ["me:s3cret", "s3cret"])
def test_secrets_are_never_shown(login):
    assert "s3cret" not in Address.of(f"nats://{login}@one/x").shown
    with pytest.raises(ValueError) as refused:
        Address.of(f"nats://{login}@one/a.b")
    assert "s3cret" not in str(refused.value)
    assert refused.value.__cause__ is None
