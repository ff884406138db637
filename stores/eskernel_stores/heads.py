"""Heads: where streams have been seen to end, for stores that must ask a server for it."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Final, NamedTuple

from eskernel.values import StreamId

KEPT: Final = 100_000
"""Streams remembered at most; of more, the least recently used are asked for again."""


class Head(NamedTuple):
    """The end of an append, at which its stream ended when it was seen; it may have grown since.

    Attributes:
        sequence: of the append's last event; 0 for a stream without events.
        mark: what the store knows the append by.
    """

    sequence: int
    mark: int


class Heads:
    """The newest ends seen, by stream; may be used from many threads.

    Being a cache it may be behind the store, never ahead of it: only what is stored is put in.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._lock = threading.Lock()  # guards the rest
        self._heads: dict[StreamId, Head] = {}  # the least recently used first

    def get(self, stream_id: StreamId) -> Head | None:
        """Return the newest end seen of a stream, or None."""
        with self._lock:
            head = self._heads.pop(stream_id, None)
            if head is not None:
                self._heads[stream_id] = head
            return head

    def put(self, heads: Iterable[tuple[StreamId, Head]]) -> None:
        """Take in ends that were seen; of two of one stream the later stays."""
        with self._lock:
            for stream_id, head in heads:
                before = self._heads.pop(stream_id, head)
                self._heads[stream_id] = max(before, head)
            while len(self._heads) > self._kept:
                del self._heads[next(iter(self._heads))]
