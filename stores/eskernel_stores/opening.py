"""From a URL to a store."""

from __future__ import annotations

from urllib.parse import urlsplit

from eskernel_stores.memory import MemoryStore

_ALLOWED = "memory:"


def open_store(url: str) -> MemoryStore:
    """Open the store a URL names.

    Args:
        url: `memory:` for a new, empty `MemoryStore`.

    Raises:
        ValueError: the URL names no store; the message lists what is allowed.
    """
    if not isinstance(url, str) or urlsplit(url).scheme != "memory":
        raise ValueError(f"{url!r} names no store; allowed: {_ALLOWED}")
    if url != "memory:":
        raise ValueError(f"{url!r} says more than a memory store can use; write {_ALLOWED}")
    return MemoryStore()
