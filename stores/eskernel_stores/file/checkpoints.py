"""Checkpoints and leases of FileStore, in a file for each name.

It is named by a hash of the name, which may hold anything.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from eskernel.errors import StoreUnavailable
from eskernel.values import Checkpoint, Lease
from eskernel_stores.checking import check_checkpoints, check_text
from eskernel_stores.file.checkpoint_file import (
    Slots,
    checkpoint_line,
    read_checkpoint,
    read_epoch,
    read_slots,
    write_slots,
)
from eskernel_stores.leases import Held, check_seconds


class CheckpointFiles:
    """Keeps checkpoints and leases; for one process at a time.

    Args:
        folder: where; made when the first name comes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Held by the one writer. Readers need none: they open either the file before or the one
        # after, which takes its place at once.
        self._lock = threading.Lock()
        # Leases by name, of the machine's monotonic clock; under the lock. One is forgotten as soon
        # as its file says another epoch, and given after its file says its own: so no epoch comes
        # twice, whatever an asynchronous exception, a failing disk or a power cut leaves.
        self._leases: dict[str, Held] = {}
        self._is_closed = False  # under the lock: no write is under way once it is set

    def load(self, name: str, slot: str) -> Checkpoint | None:
        """Return the checkpoint in a slot; see `CheckpointStore.load_checkpoint`."""
        return read_checkpoint(self._path(name), name, slot)

    def save(self, name: str, epoch: int, slots: Mapping[str, Checkpoint | None]) -> None:
        """Replace checkpoints; see `CheckpointStore.save_checkpoints`."""
        check_checkpoints(name, epoch, slots)
        new = {
            slot: checkpoint_line(name, slot, epoch, checkpoint)
            for slot, checkpoint in slots.items()
            if checkpoint is not None
        }
        with self._writing(name) as path:
            before = read_slots(path, name)
            held = self._held(name, before.epoch).admitted(name, epoch)
            kept = {slot: line for slot, line in before.lines.items() if slot not in slots}
            write_slots(path, name, Slots(epoch, {**kept, **new}))
            self._leases[name] = held

    def acquire(self, name: str, owner: str, seconds: float) -> Lease:
        """Take or renew a lease; see `CheckpointStore.acquire_lease`."""
        check_text("owner", owner)
        check_seconds(seconds)
        with self._writing(name) as path:
            held = self._held(name, read_epoch(path, name))
            now = time.monotonic()
            taken = held.acquired(owner, seconds, now)
            if taken.epoch != held.epoch:
                write_slots(path, name, Slots(taken.epoch, read_slots(path, name).lines))
            self._leases[name] = taken
            return taken.shown(now)

    def release(self, name: str, owner: str) -> None:
        """Give a lease back; see `CheckpointStore.release_lease`."""
        with self._lock:
            if (held := self._leases.get(name)) is not None:
                self._leases[name] = held.released(owner)

    def close(self) -> None:
        """Write nothing any more: the folder may be another's."""
        with self._lock:
            self._is_closed = True

    @contextmanager
    def _writing(self, name: str) -> Iterator[Path]:
        path = self._path(name)
        with self._lock:
            if self._is_closed:
                raise StoreUnavailable("the store was closed meanwhile; nothing was stored")
            yield path

    def _held(self, name: str, epoch: int) -> Held:
        """Return a name's lease, if it is of the file's epoch; else it is nobody's."""
        held = self._leases.get(name)
        return held if held is not None and held.epoch == epoch else Held(None, epoch)

    def _path(self, name: str) -> Path:
        check_text("name", name)
        hashed = sha256(json.dumps(name).encode()).hexdigest()
        return self._folder / f"{hashed}.jsonl"
