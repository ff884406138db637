"""Snapshots: one small file for each stream, the newest snapshot in its first line.

The file is named by a hash of the stream id, which may hold anything, and replaced as a whole.
A damaged snapshot is logged and passed over: the events can always say the same.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from eskernel.codec import Codec
from eskernel.errors import StoreUnavailable
from eskernel.values import Receipt, Snapshot, StreamId
from eskernel_stores.file.folder import make_folder, replace_file
from eskernel_stores.file.journal import warn
from eskernel_stores.file.line import is_whole, tagged_line
from eskernel_stores.file.tagged import Tagger, from_json

_new = tuple.__new__


class SnapshotFiles:
    """Keeps the newest snapshots.

    Args:
        folder: where; made when the first snapshot comes.
        codec: seals open snapshots, and decodes.
    """

    def __init__(self, folder: Path, codec: Codec) -> None:
        self._folder = folder
        self._codec = codec
        # Held by the one writer. Readers need none: they open either the file before or the one
        # after, which takes its place at once.
        self._lock = threading.Lock()

    def store(self, snapshot: Snapshot, keep: int) -> None:
        """Store a snapshot; see `SnapshotStore.store`."""
        sealed = snapshot.sealed(self._codec.pack, self._codec.unpack)
        line = _line(sealed)
        path = self._path(sealed.stream_id)
        with self._lock:
            try:
                lines = {sealed.sequence: line}
                for other in _lines(path):
                    if (sequence := _sequence(other)) is None:
                        warn("damaged_snapshot_dropped", stream_id=sealed.stream_id, path=str(path))
                    else:
                        lines.setdefault(sequence, other)
                kept = sorted(lines, reverse=True)[: max(keep, 1)]
                make_folder(path.parent)
                replace_file(path, b"".join([lines[sequence] for sequence in kept]))
            except OSError as error:
                raise StoreUnavailable(f"{path} cannot be written: {error}") from error

    def load_latest(self, stream_id: StreamId) -> Snapshot | None:
        """Return a stream's newest snapshot that is not damaged, or None."""
        path = self._path(stream_id)
        try:
            for line in _lines(path):
                snapshot = _snapshot(line, stream_id, self._codec.unpack)
                if snapshot is not None:
                    return snapshot
                warn("damaged_snapshot_ignored", stream_id=stream_id, path=str(path))
        except OSError as error:
            raise StoreUnavailable(f"{path} cannot be read: {error}") from error
        return None

    def _path(self, stream_id: StreamId) -> Path:
        name = sha256(json.dumps(stream_id).encode()).hexdigest()
        return self._folder / name[:2] / f"{name}.jsonl"


def _lines(path: Path) -> Iterator[bytes]:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        yield from file


def _line(sealed: Snapshot) -> bytes:
    fields = {
        "stream": sealed.stream_id,
        "sequence": sealed.sequence,
        "version": sealed.version,
        "time": sealed.timestamp,
        "receipts": sealed.receipts,
    }
    return tagged_line("snapshot", lambda tag: {**fields, "state": tag(sealed.body)}, Tagger())


def _read(line: bytes) -> dict[str, Any] | None:
    if not is_whole(line):
        return None
    try:
        fields = from_json(line.decode())
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def _sequence(line: bytes) -> int | None:
    return fields["sequence"] if (fields := _read(line)) is not None else None


def _snapshot(line: bytes, stream_id: StreamId, unpack: Callable[[bytes], Any]) -> Snapshot | None:
    fields = _read(line)
    if fields is None or tuple(fields["stream"]) != stream_id:
        return None
    receipts = tuple(Receipt(*receipt) for receipt in fields["receipts"])
    row = (
        stream_id,
        fields["sequence"],
        Tagger().repack(fields["state"]),
        fields["version"],
        receipts,
        fields["time"],
        unpack,
    )
    return _new(Snapshot, row)
