"""Checkpoints and leases of MemoryStore."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import NamedTuple

from eskernel.values import Checkpoint, Lease
from eskernel_stores.leases import Held, check_seconds


class _Kept(NamedTuple):
    held: Held
    slots: Mapping[str, Checkpoint]


_NOTHING = _Kept(Held(), {})


class MemoryCheckpoints:
    """A CheckpointStore in this process; leases run by the monotonic clock."""

    def __init__(self) -> None:
        # Held by the one writer. Readers take none: all that is known of a name is replaced in
        # one step, so neither they nor an asynchronous exception meet half of it.
        self._lock = threading.Lock()
        self._names: dict[str, _Kept] = {}

    def load(self, name: str, slot: str) -> Checkpoint | None:
        """Return the checkpoint in a slot; see `CheckpointStore.load_checkpoint`."""
        return self._names.get(name, _NOTHING).slots.get(slot)

    def save(self, name: str, epoch: int, slots: Mapping[str, Checkpoint | None]) -> None:
        """Replace checkpoints; see `CheckpointStore.save_checkpoints`."""
        with self._lock:
            held, before = self._names.get(name, _NOTHING)
            admitted = held.admitted(name, epoch)
            after = dict(before)
            for slot, checkpoint in slots.items():
                if checkpoint is None:
                    after.pop(slot, None)
                else:
                    after[slot] = checkpoint._replace(epoch=epoch)
            self._names[name] = _Kept(admitted, after)

    def acquire(self, name: str, owner: str, seconds: float) -> Lease:
        """Take or renew a lease; see `CheckpointStore.acquire_lease`."""
        check_seconds(seconds)
        with self._lock:
            kept = self._names.get(name, _NOTHING)
            now = time.monotonic()
            held = kept.held.acquired(owner, seconds, now)
            self._names[name] = _Kept(held, kept.slots)
            return held.shown(now)

    def release(self, name: str, owner: str) -> None:
        """Give a lease back; see `CheckpointStore.release_lease`."""
        with self._lock:
            kept = self._names.get(name, _NOTHING)
            self._names[name] = _Kept(kept.held.released(owner), kept.slots)
