"""What the tests of MongoStore share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cutting_proxy import CuttingProxy
from store_helpers import STREAM, made

from eskernel.values import Checkpoint
from eskernel_stores.mongo import MongoStore
from eskernel_stores.mongo.large.values import PIECE

NAME = "balances"
LARGE = bytes(PIECE + 1000)
"""A state of two pieces."""
HASTE = 1.5
"""Seconds; enough for a server that is there, on a busy machine too."""


def hasty_mongo(url: str) -> MongoStore:
    """Return a store that does not wait until a server that stays away is back."""
    return MongoStore(url, timeout=HASTE)


def checkpoint(position: int, epoch: int = 0, state: bytes = b"\x81\xa1b\x05") -> Checkpoint:
    """Return a checkpoint, whose version looks like a field of the server's language."""
    return Checkpoint(position, "$v1", state, b"\x90", epoch)


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
