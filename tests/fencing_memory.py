"""FencingMemory: a MemoryStore with fences, for kernels that share it within one process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from eskernel.contracts import Clock, Commit, Fence
from eskernel.errors import StaleEpoch
from eskernel.values import Lease
from eskernel_stores import MemoryStore
from eskernel_stores.leases import Held

_APPEND_ID = 9
"""Where a stored row has it."""


class FencingMemory(MemoryStore):
    """A FencingEventStore written by the committer, that tests can watch and disturb.

    Attributes:
        asked: of each call about leases, in order: `acquire` or `release`, names, owner.
        hook_lease: called with these before the store does anything about leases.
        hook_append: called before anything is appended.
        refused: appends that got StaleEpoch.
        conflicts: appends that got another exception.

    Args:
        clock: by which leases run out.
    """

    immediate = False

    def __init__(self, clock: Clock = time) -> None:
        super().__init__()
        self._clock = clock
        # Held by whoever changes a lease or appends under one: the check is part of the write.
        self._fencing = threading.Lock()
        self._held: dict[str, Held] = {}
        self.asked: list[tuple[str, list[str], str]] = []
        self.hook_lease: Callable[[str, list[str], str], Any] = lambda *_: None
        self.hook_append: Callable[[], Any] = lambda: None
        self.refused = 0
        self.conflicts = 0

    def append_fenced(
        self, commits: Sequence[Commit], fences: Sequence[Fence | None]
    ) -> list[int | Exception]:
        self.hook_append()
        with self._fencing:
            return [self._append(*pair) for pair in zip(commits, fences, strict=True)]

    def acquire_leases(self, names: Sequence[str], owner: str, seconds: float) -> list[Lease]:
        self._tell("acquire", names, owner)
        with self._fencing:
            return [self._acquire(name, owner, seconds) for name in names]

    def release_leases(self, names: Sequence[str], owner: str) -> None:
        self._tell("release", names, owner)
        with self._fencing:
            for name in names:
                self._held[name] = self.held(name).released(owner)

    def held(self, name: str) -> Held:
        return self._held.get(name, Held())

    def owners(self) -> dict[str, str]:
        """Return who has each lease that has not run out."""
        now = self._clock.monotonic()
        return {n: h.owner for n, h in self._held.items() if h.owner and h.expires > now}

    def _tell(self, what: str, names: Sequence[str], owner: str) -> None:
        self.asked.append((what, list(names), owner))
        self.hook_lease(what, list(names), owner)

    def _acquire(self, name: str, owner: str, seconds: float) -> Lease:
        now = self._clock.monotonic()
        self._held[name] = held = self.held(name).acquired(owner, seconds, now)
        return held.shown(now)

    def _append(self, commit: Commit, fence: Fence | None) -> int | Exception:
        stream_id, events, expected, append_id = commit
        newest = None if fence is None else self.held(fence.name).epoch
        if fence is not None and fence.epoch != newest and not self._is_stored(commit):
            self.refused += 1
            return StaleEpoch(fence.name, fence.epoch, newest)
        try:
            return self.append(stream_id, events, expected_sequence=expected, append_id=append_id)
        except Exception as error:
            self.conflicts += 1
            return error

    def _is_stored(self, commit: Commit) -> bool:
        rows = self._streams.get(commit.stream_id, ())[commit.expected_sequence :]
        return any(row[_APPEND_ID] == commit.append_id for row in rows)
