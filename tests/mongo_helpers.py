"""What the tests of MongoStore share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cutting_proxy import CuttingProxy
from sql_helpers import STREAM, made

from eskernel_stores.mongo import MongoStore

HASTE = 1.5
"""Seconds; enough for a server that is there, on a busy machine too."""


def hasty_mongo(url: str) -> MongoStore:
    """Return a store that does not wait until a server that stays away is back."""
    return MongoStore(url, timeout=HASTE)


def send(
    store: MongoStore,
    expected: int,
    *payloads: Any,
    stream_id: tuple[str, str] = STREAM,
    append_id: int | None = None,
) -> int:
    """Append events that follow upon a sequence, and return the last position."""
    events = made(stream_id, expected, *payloads)
    return store.append(stream_id, events, expected_sequence=expected, append_id=append_id)


def far_url(url: str, proxy: CuttingProxy) -> str:
    """Return the URL of a database as it is reached through a proxy, and in no other way."""
    name = url.rpartition("/")[2]
    return f"mongodb://127.0.0.1:{proxy.port}/{name}?directConnection=true"


@contextmanager
def lost(proxy: CuttingProxy, needle: bytes, forwarded: bool) -> Iterator[None]:
    """Have the next command with a needle be cut off, and the server out of reach from then on.

    Args:
        proxy: on the way to the server.
        needle: of the command.
        forwarded: whether the server gets it.
    """
    proxy.refusing = True
    proxy.rules = [(needle, forwarded)]
    yield
    assert proxy.rules == []
    proxy.refusing = False
