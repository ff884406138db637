"""Snapshots in a bucket: one record for each stream, of which each part is one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from eskernel.errors import CorruptStore
from eskernel.values import Receipt, Snapshot, StreamId
from eskernel_stores.checking import check_stream
from eskernel_stores.jetstream.buckets.bucket import Bucket, Found
from eskernel_stores.jetstream.buckets.chunks import chunk_key
from eskernel_stores.jetstream.buckets.races import until_won
from eskernel_stores.jetstream.buckets.records import Part, Record, pack, unpack
from eskernel_stores.jetstream.connecting.connection import Connection
from eskernel_stores.jetstream.connecting.portal import Portal
from eskernel_stores.jetstream.streams import snapshots_bucket
from eskernel_stores.jetstream.subjects import to_token

_NEW = tuple.__new__


class JetStreamSnapshots:
    """A SnapshotStore in the bucket `<name>-snapshots`, under the keys `<type>.<id>`.

    Args:
        portal: to the connection's loop.
        connection: to the servers.
        name: of the store.
        pack: from a state and its name to bytes, as `Codec.pack`.
        unpack: the way back, as `Codec.unpack`.
    """

    def __init__(
        self,
        portal: Portal,
        connection: Connection,
        name: str,
        pack: Callable[[Any, str], bytes],
        unpack: Callable[[bytes], Any],
    ) -> None:
        self._portal = portal
        self._bucket = Bucket(connection, snapshots_bucket(name))
        self._pack = pack
        self._unpack = unpack

    def store(self, snapshot: Snapshot, keep: int = 1) -> None:
        """Store a snapshot; see `SnapshotStore.store`."""
        sealed = snapshot.sealed(self._pack, self._unpack)
        key = _key(sealed.stream_id)
        value = pack((sealed.version, sealed.receipts, sealed.timestamp, sealed.body))
        self._portal.run(self._store, key, Part(sealed.sequence, value), max(keep, 1))

    def load_latest(self, stream_id: StreamId) -> Snapshot | None:
        """Return the stream's newest snapshot, or None.

        Where the servers have just lost sight of each other, it may be one that was the newest.

        Raises:
            StoreUnavailable: the servers could not be reached.
            CorruptStore: it is damaged.
        """
        part = self._portal.run(lambda: self._bucket.load(_key(stream_id), confirmed=False))
        return None if part is None else self._read(stream_id, *part)

    async def _store(self, key: str, new: Part, keep: int) -> None:
        async def attempt() -> None:
            found = await self._bucket.find(key)
            parts = {part.number: part for part in found.record.parts}
            parts[new.number] = new
            kept = [parts[number] for number in sorted(parts, reverse=True)[:keep]]
            if new in kept:
                await self._replace(key, found, kept)

        await until_won(attempt)

    async def _replace(self, key: str, found: Found, parts: Sequence[Part]) -> None:
        # What was dropped before is purged first: so a record names only what it drops itself.
        await self._bucket.purge(_chunk_keys(key, found.record), found.sequence)
        messages, record = self._bucket.messages(key, parts, found.record)
        await self._bucket.write(messages, found.sequence, _chunk_keys(key, record))

    def _read(self, stream_id: StreamId, sequence: int, value: bytes) -> Snapshot:
        what = f"the snapshot at {sequence} of stream {stream_id}"
        try:
            version, receipts, timestamp, body = unpack(value, what)
            proofs = tuple(Receipt(*receipt) for receipt in receipts)
        except (CorruptStore, TypeError, ValueError) as error:
            raise CorruptStore(f"{what} is damaged: {error}", stream_id, sequence) from error
        row = (stream_id, sequence, body, version, proofs, timestamp, self._unpack)
        return _NEW(Snapshot, row)


def _chunk_keys(key: str, record: Record) -> list[str]:
    return [chunk_key(key, name) for name in record.dropped]


def _key(stream_id: StreamId) -> str:
    check_stream(stream_id)
    return f"{to_token(stream_id[0], 'aggregate_type')}.{to_token(stream_id[1], 'aggregate_id')}"
