"""Checkpoints in a bucket: one record for each slot, guarded by the lease of their name."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar
from weakref import WeakValueDictionary

from eskernel.errors import CorruptStore
from eskernel.values import Checkpoint, Lease
from eskernel_stores.jetstream.buckets import leases
from eskernel_stores.jetstream.buckets.bucket import Bucket
from eskernel_stores.jetstream.buckets.chunks import chunk_key
from eskernel_stores.jetstream.buckets.races import until_won
from eskernel_stores.jetstream.buckets.records import Part, pack, unpack
from eskernel_stores.jetstream.connecting.connection import Connection
from eskernel_stores.jetstream.connecting.portal import Portal
from eskernel_stores.jetstream.connecting.replies import Message
from eskernel_stores.jetstream.streams import checkpoints_bucket
from eskernel_stores.jetstream.subjects import to_token

T = TypeVar("T")


class JetStreamCheckpoints:
    """A CheckpointStore in the bucket `<name>-checkpoints`.

    A name's lease is at `<name>.lease`, its slots are at `<name>.slot.<slot>`. Every save writes
    the lease too, on condition that it is as it was when the save read it. So all changes of a
    name come one after another, and none is lost.

    Args:
        portal: to the connection's loop.
        connection: to the servers.
        name: of the store.
    """

    def __init__(self, portal: Portal, connection: Connection, name: str) -> None:
        self._portal = portal
        self._bucket = Bucket(connection, checkpoints_bucket(name))
        # By name, held by its one writer in this process, so that the others wait instead of
        # losing races to it. Only the loop's thread touches it; other processes do not know of it.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def load(self, name: str, slot: str) -> Checkpoint | None:
        """Return the checkpoint in a slot; see `CheckpointStore.load_checkpoint`."""
        key = _slot_key(name, slot)
        part = self._portal.run(until_won, lambda: self._bucket.load(key, confirmed=True))
        return None if part is None else _read(part.value, name, slot)

    def save(self, name: str, epoch: int, slots: Mapping[str, Checkpoint | None]) -> None:
        """Replace checkpoints; see `CheckpointStore.save_checkpoints`."""
        parts = {slot: _parts(checkpoint, epoch) for slot, checkpoint in slots.items()}
        self._portal.run(self._in_turn, name, lambda: self._save(name, epoch, parts))

    def acquire(self, name: str, owner: str, seconds: float) -> Lease:
        """Take or renew a lease; see `CheckpointStore.acquire_lease`."""
        key = _lease_key(name)
        lease: Lease = self._portal.run(
            self._in_turn, name, lambda: leases.acquire(self._bucket, key, owner, seconds)
        )
        return lease

    def release(self, name: str, owner: str) -> None:
        """Give a lease back; see `CheckpointStore.release_lease`."""
        key = _lease_key(name)
        self._portal.run(self._in_turn, name, lambda: leases.release(self._bucket, key, owner))

    async def _in_turn(self, name: str, attempt: Callable[[], Awaitable[T]]) -> T:
        async with self._turns.setdefault(name, asyncio.Lock()):
            return await until_won(attempt)

    async def _save(self, name: str, epoch: int, slots: Mapping[str, list[Part]]) -> None:
        key = _lease_key(name)
        before = await leases.find(self._bucket, key)
        held = before.held.admitted(name, epoch)
        # What was dropped before is purged first: so a guard names only what its save drops.
        await self._bucket.purge(before.dropped, before.sequence)
        messages, chunks = self._made(name, slots)
        old = {one: before.chunks[one] for one in chunks if one in before.chunks}
        kept = {one: ids for one, ids in {**before.chunks, **chunks}.items() if ids}
        dropped = [chunk_key(one, ids) for one, ids in old.items()]
        guard = leases.message(self._bucket, key, leases.Guard(0, held, kept, dropped))
        await self._bucket.write([*messages, guard], before.sequence, dropped)

    def _made(
        self, name: str, slots: Mapping[str, list[Part]]
    ) -> tuple[list[Message], dict[str, str]]:
        """Return messages that fill or empty slots and, by key of slot, the ids of chunks or ""."""
        messages: list[Message] = []
        chunks: dict[str, str] = {}
        for slot, parts in slots.items():
            key = _slot_key(name, slot)
            made, record = self._bucket.messages(key, parts)
            messages += made
            chunks[key] = next(iter(record.chunk_ids()), "")
        return messages, chunks


def _parts(checkpoint: Checkpoint | None, epoch: int) -> list[Part]:
    return [] if checkpoint is None else [Part(0, pack(checkpoint._replace(epoch=epoch)))]


def _read(value: bytes, name: str, slot: str) -> Checkpoint:
    what = f"the checkpoint in slot {slot!r} of {name!r}"
    fields = unpack(value, what)
    try:
        return Checkpoint(*fields)
    except TypeError as error:
        raise CorruptStore(f"{what} is damaged: {error}") from error


def _lease_key(name: str) -> str:
    return f"{to_token(name)}.lease"


def _slot_key(name: str, slot: str) -> str:
    return f"{to_token(name)}.slot.{to_token(slot, 'slot')}"
