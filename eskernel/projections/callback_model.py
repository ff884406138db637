"""CallbackModel: no state, but something done for every event, which cannot be undone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from eskernel.contracts import CheckpointStore
from eskernel.errors import StoreUnavailable
from eskernel.projections.progress import Progress
from eskernel.values import Event


class CallbackModel:
    """Calls a function with each event: at least once, repeating one page at most after a crash.

    Args:
        callback: what to call.
        store: where the position is stored; None for a subscription without a name, which begins
            anew each time.
        key: the name it is stored under.

    Attributes:
        is_ours: whether the lease is still valid; asked before each call, as a call cannot be
            taken back.
    """

    undoes = False
    eager = True
    opening = 0.0
    shared = True

    def __init__(
        self, callback: Callable[[Event], Any], store: CheckpointStore | None, key: str
    ) -> None:
        self._callback = callback
        self._store = store
        self._key = key
        self.is_ours: Callable[[], bool] = lambda: True
        self._kept: dict[str, Progress] = {}

    def load(self, slot: str) -> Progress | None:
        """Return the progress that is stored, or that was kept in memory without a store."""
        if self._store is None:
            return self._kept.get(slot)
        return self.peek(slot)

    def peek(self, slot: str) -> Progress | None:
        """Return the progress that is stored."""
        stored = self._store.load_checkpoint(self._key, slot) if self._store else None
        return None if stored is None else Progress.of(stored)

    def begin(self, slot: str, progress: Progress) -> None:
        """Note where it begins."""
        self._kept[slot] = progress

    def handle(self, slot: str, events: Iterator[Event]) -> None:  # noqa: ARG002 - the only slot
        """Call the callback with each."""
        for event in events:
            if not self.is_ours():
                raise StoreUnavailable(
                    f"{self._key}: its lease ran out while callbacks took their time, and is "
                    "asked for again; a longer lease_seconds gives them more"
                )
            self._callback(event)

    def is_awaited(self) -> bool:
        """Return False: nobody waits for a callback."""
        return False

    def commit(self, slot: str, progress: Progress, epoch: int | None) -> None:
        """Store how far it has come."""
        self._kept[slot] = progress
        if self._store is not None and epoch is not None:
            self._store.save_checkpoints(self._key, epoch, {slot: progress.checkpoint(b"")})

    def undo(self, slot: str) -> Progress:
        """Return how far it has come: what is done is done."""
        return self._kept[slot]

    def close(self) -> None:
        """Do nothing: nothing is held."""
