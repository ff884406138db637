"""NATS servers that the tests make streams on: somebody's, or a `nats_cluster` of their own."""

from __future__ import annotations

import asyncio
import uuid
from urllib.parse import urlsplit

import nats
import nats.errors

VARIABLE = "ESKERNEL_TEST_NATS"
"""Names the environment variable with the URL of other servers to test with."""

_PATIENCE = 3  # seconds for an answer


class NatsServers:
    """Servers that somebody else runs.

    Args:
        url: `nats://…`, as for a JetStreamStore; the tests make streams there.
    """

    can_be_killed = False

    def __init__(self, url: str) -> None:
        self._base = urlsplit(url)
        self._made: list[str] = []

    def url(self, name: str | None = None) -> str:
        """Return the URL of a store with this name, or of the servers."""
        return self._base._replace(path=f"/{name}" if name else "").geturl()

    def new_url(self) -> str:
        """Return the URL of a store that does not exist yet; `drop` removes its streams."""
        url = self.url(f"test_{uuid.uuid4().hex[:12]}")
        self._made.append(url)
        return url

    def drop(self, *urls: str) -> None:
        """Delete the streams of these stores, or of every store with a URL of `new_url`."""
        if names := tuple(_name_of(url) for url in urls or self._made):
            asyncio.run(_delete_streams(self.servers(), names))
        self._made = [url for url in self._made if urls and url not in urls]

    def servers(self) -> list[str]:
        """Return the URL of each server, as NATS clients want them."""
        user, _, hosts = self._base.netloc.rpartition("@")
        return [f"nats://{user}{'@' if user else ''}{host}" for host in hosts.split(",")]


def events_of(url: str) -> str:
    """Return what the stream with a store's events is called."""
    return f"{_name_of(url)}-events"


async def has_room(servers: list[str]) -> bool:
    """Return whether the servers make a stream of three replicas, which is gone afterwards."""
    client = await nats.connect(servers, connect_timeout=_PATIENCE)
    try:
        context = client.jetstream(timeout=_PATIENCE)
        name = f"probe_{uuid.uuid4().hex[:12]}"
        await context.add_stream(name=name, subjects=[name], num_replicas=3)
        await context.delete_stream(name)
    except nats.errors.Error:
        return False
    finally:
        await client.close()
    return True


async def _delete_streams(servers: list[str], names: tuple[str, ...]) -> None:
    client = await nats.connect(servers, connect_timeout=_PATIENCE)
    try:
        context = client.jetstream(timeout=_PATIENCE)
        for stream in await context.streams_info():
            if stream.config.name.removeprefix("KV_").startswith(tuple(f"{n}-" for n in names)):
                await context.delete_stream(stream.config.name)
    finally:
        await client.close()


def _name_of(url: str) -> str:
    return urlsplit(url).path.strip("/")
