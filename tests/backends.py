"""Every backend by its name, for tests that hold for all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

SERVERS = {"postgresql": "new_schema", "jetstream": "new_url", "mongo": "new_url"}
"""By backend that is a server: the method of its fixture that returns the URL of an empty store."""

SHARED = ("sqlite", *SERVERS)
"""Backends whose stores several processes may have open at once."""

FENCING = ("sqlite", "postgresql", "mongo")
"""Backends whose stores check leases in the write that stores events."""

DURABLE = ("file", *SHARED)

BACKENDS = ("memory", *DURABLE)


def new_url(kind: str, path: Path, request: pytest.FixtureRequest) -> str:
    """Return the URL of an empty store.

    Args:
        kind: one of `BACKENDS`.
        path: where a file or folder may be made.
        request: of the test; brings the server.
    """
    if kind in SERVERS:
        server = request.getfixturevalue("nats" if kind == "jetstream" else kind)
        return getattr(server, SERVERS[kind])()
    return {"memory": "memory:", "file": f"file://{path}", "sqlite": f"sqlite:///{path}.db"}[kind]
