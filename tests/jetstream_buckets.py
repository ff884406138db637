"""What the tests of JetStream's buckets share: looking into them, and what may happen to stores."""

from __future__ import annotations

import asyncio
from itertools import count
from urllib.parse import urlsplit

import nats as nats_py

from eskernel.values import Checkpoint

NAME = "balances"


def made(position: int, epoch: int = 0) -> Checkpoint:
    """Return a small checkpoint."""
    return Checkpoint(position, "v1", b"\x81\xa1b\x05", b"\x90", epoch)


def large(position: int, epoch: int = 0, size: int = 600_000) -> Checkpoint:
    """Return a checkpoint that does not fit into a record, and tells its position everywhere."""
    return Checkpoint(position, "v1", position.to_bytes(8) * (size // 8), b"", epoch)


def calls_of(store):
    """Return a call of each kind that a CheckpointStore has."""
    return (
        lambda: store.load_checkpoint(NAME),
        lambda: store.save_checkpoints(NAME, 1, {"serving": made(1)}),
        lambda: store.acquire_lease(NAME, "first", 5),
        lambda: store.release_lease(NAME, "first"),
    )


def subjects_of(url: str, kind: str) -> dict[str, int]:
    """Return the keys of a store's bucket, those of chunks too, and how many messages each has.

    Args:
        url: of the store.
        kind: `snapshots` or `checkpoints`.
    """
    prefix = f"$KV.{_name(url)}-{kind}."
    found = _asked(url, lambda js: js.stream_info(f"KV_{_name(url)}-{kind}", ">"))
    return {
        subject.removeprefix(prefix): number
        for subject, number in (found.state.subjects or {}).items()
    }


def chunks_of(url: str, kind: str) -> set[str]:
    """Return the keys under which chunks are, without their numbers."""
    keys = subjects_of(url, kind)
    return {key.rpartition(".")[0] for key in keys if ".chunk." in key}


def publish(url: str, kind: str, key: str, payload: bytes) -> None:
    """Put bytes at a key, as another program may."""
    _asked(url, lambda js: js.publish(f"$KV.{_name(url)}-{kind}.{key}", payload))


def purge(url: str, kind: str, key: str) -> None:
    """Remove the message at a key, as if it had never been."""
    subject = f"$KV.{_name(url)}-{kind}.{key}"
    _asked(url, lambda js: js.purge_stream(f"KV_{_name(url)}-{kind}", subject=subject))


def key_values(url: str, kind: str, ask):
    """Return what a coroutine function returns of the library's own KeyValue."""

    async def asked(js):
        return await ask(await js.key_value(f"{_name(url)}-{kind}"))

    return _asked(url, asked)


class Died(Exception):
    """The process ended here."""


def die_at(store, number: int, *, done: bool) -> None:
    """Have a store die at one of its requests, and at each after that.

    Args:
        store: a JetStreamStore.
        number: which request, from 0 on.
        done: whether the server still does what is asked.
    """
    connection = store._service.connection
    requests = count()

    def dying(request):
        async def asked(*arguments):
            this = next(requests)
            if this < number or (this == number and done):
                answer = await request(*arguments)
                if this < number:
                    return answer
            raise Died

        return asked

    for name in ("ask", "publish_batch", "page"):
        setattr(connection, name, dying(getattr(connection, name)))


def _name(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")


def _asked(url: str, ask):
    async def run():
        parts = urlsplit(url)
        client = await nats_py.connect([f"nats://{host}" for host in parts.netloc.split(",")])
        try:
            return await ask(client.jetstream())
        finally:
            await client.close()

    return asyncio.run(run())
