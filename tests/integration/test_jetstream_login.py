"""A JetStreamStore introduces itself to servers that want to know who asks."""

import re
import shutil
import socket
import ssl
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from cutting_proxy import CuttingProxy
from store_helpers import STREAM, append, payloads, unavailable
from support import eventually

from eskernel_stores.jetstream import JetStreamStore


@pytest.fixture
def serve(tmp_path):
    """Starts a server of its own with some options, and returns its address."""
    binary = shutil.which("nats-server", path=str(Path(sys.executable).parent))
    processes = []

    def serve(*options, jetstream=True):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        where = ("-a", "127.0.0.1", "-p", str(port), *(("-js",) * jetstream), "-sd", str(tmp_path))
        processes.append(subprocess.Popen([binary, *where, *options], stderr=subprocess.DEVNULL))
        eventually(lambda: _listens(port), timeout=20)
        return f"127.0.0.1:{port}"

    yield serve
    for process in processes:
        process.kill()
        process.wait(20)


def _listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize(
    ("options", "login", "wrong"),
    [
        (("--user", "me", "--pass", "s3/cr@t"), "me:s3%2Fcr%40t", "me:wr0ng"),
        (("--auth", "s3cret"), "s3cret", "wr0ng"),
    ],
)
def test_who_knows_the_secret_is_let_in(serve, options, login, wrong):
    address = serve(*options)
    with closing(JetStreamStore(f"nats://{login}@{address}/x?replicas=1")) as store:
        append(store, STREAM, "a")
        assert payloads(store) == ["a"]
        assert "s3" not in repr(store)
    for other in ("", f"{wrong}@"):
        error = unavailable(JetStreamStore, f"nats://{other}{address}/x?replicas=1", timeout=0.5)
        assert re.search("Authorization Violation|wrong user, password or token", str(error))
        assert "wr0ng" not in str(error)


def test_a_single_server_keeps_no_replicas(serve):
    error = unavailable(JetStreamStore, f"nats://{serve()}/x")
    assert "?replicas=1 for a single server" in str(error)


def test_a_server_without_jetstream_is_said_to_be_one(serve):
    error = unavailable(JetStreamStore, f"nats://{serve(jetstream=False)}/x", timeout=0.5)
    assert "is JetStream enabled" in str(error)
    assert not error.outcome_unknown


@pytest.mark.parametrize("how", ["tls://", "a context"])
def test_no_secret_is_sent_to_a_server_that_does_not_encrypt(serve, how):
    address = serve("--user", "me", "--pass", "s3cret")
    with closing(CuttingProxy(int(address.rpartition(":")[2]))) as proxy:
        proxy.rules = [(b"s3cret", True)]
        url = (
            f"{how if how == 'tls://' else 'nats://'}me:s3cret@127.0.0.1:{proxy.port}/x?replicas=1"
        )
        options = {} if how == "tls://" else {"tls": ssl.create_default_context()}
        error = unavailable(JetStreamStore, url, timeout=0.5, **options)
        assert "does not encrypt" in str(error)
        assert proxy.rules, "the secret was sent"
