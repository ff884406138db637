"""Snapshots: one document for a stream, with all that are kept of it, changed as a whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eskernel.codec import Codec
from eskernel.errors import CorruptStore
from eskernel.values import Receipt, Snapshot, StreamId
from eskernel_stores.mongo.database import Database, Document
from eskernel_stores.mongo.large import INLINE, TOGETHER, LargeDocuments, Missing, Parts

_PLAIN = Codec()
_NEW = tuple.__new__


class MongoSnapshots:
    """A SnapshotStore in a collection.

    Args:
        database: keeps them in its collection `snapshots`.
        pack: from a state and its name to bytes, as `Codec.pack`.
        unpack: the way back, as `Codec.unpack`.
    """

    def __init__(
        self,
        database: Database,
        pack: Callable[[Any, str], bytes],
        unpack: Callable[[bytes], Any],
    ) -> None:
        self._database = database
        self._streams = LargeDocuments(database, "snapshots", "kept", ("state", "receipts"), {})
        self._pack = pack
        self._unpack = unpack

    def store(self, snapshot: Snapshot, keep: int = 1) -> None:
        """Store a snapshot; see `SnapshotStore.store`.

        Raises:
            StoreUnavailable: the servers cannot be reached.
            NotStorable: the state cannot be encoded.
        """
        sealed = snapshot.sealed(self._pack, self._unpack)
        receipts = _PLAIN.pack([list(receipt) for receipt in sealed.receipts])
        entry = {name: getattr(sealed, name) for name in ("sequence", "version", "timestamp")}
        inline = min(INLINE, TOGETHER // keep)
        entry, large = self._streams.filled(entry, (sealed.body, receipts), inline)
        self._streams.replace(_key(sealed.stream_id), _kept(entry, keep), large)

    def load_latest(self, stream_id: StreamId) -> Snapshot | None:
        """Return the stream's newest snapshot, or None.

        Raises:
            StoreUnavailable: the servers cannot be reached.
            CorruptStore: the snapshot cannot be read.
        """
        try:
            found = self._streams.read(lambda: self._newest(stream_id))
        except Missing as error:
            sequence = error.entry["sequence"]
            raise _corrupt(stream_id, sequence, "pieces of it are missing") from error
        return None if found is None else self._read(stream_id, *found)

    def _newest(self, stream_id: StreamId) -> Document | None:
        with self._database.translating(writing=False):
            found = self._streams.collection().find_one(
                {"_id": _key(stream_id)}, {"kept": {"$slice": 1}}
            )
        return found["kept"][0] if found and found["kept"] else None

    def _read(self, stream_id: StreamId, entry: Document, value: Parts) -> Snapshot:
        sequence, version, timestamp = entry["sequence"], entry["version"], entry["timestamp"]
        state, packed = value
        try:
            receipts = tuple(Receipt(*receipt) for receipt in _PLAIN.unpack(packed))
        except (CorruptStore, TypeError) as error:
            raise _corrupt(stream_id, sequence, f"its receipts cannot be read: {error}") from error
        fields = (stream_id, sequence, state, version, receipts, timestamp, self._unpack)
        return _NEW(Snapshot, fields)


def _key(stream_id: StreamId) -> str:
    """Return the `_id` of a stream's document; neither name can hold the NUL between them."""
    return "\0".join(stream_id)


def _kept(entry: Document, keep: int) -> Document:
    """Return the expression for the snapshots to keep, newest first, with a new one among them."""

    def others(comparison: str) -> Document:
        chosen = {comparison: ["$$this.sequence", entry["sequence"]]}
        return {"$filter": {"input": "$kept", "cond": chosen}}

    together = [others("$gt"), {"$literal": [entry]}, others("$lt")]
    return {"$slice": [{"$concatArrays": together}, keep]}


def _corrupt(stream_id: StreamId, sequence: int, problem: str) -> CorruptStore:
    return CorruptStore(
        f"the snapshot at {sequence} of stream {stream_id}: {problem}; delete the snapshot",
        stream_id,
        sequence,
    )
