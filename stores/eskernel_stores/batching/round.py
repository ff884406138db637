"""Round: what goes into one durable write, and Written: what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from eskernel.values import StreamId
from eskernel_stores.batching.prepared import Prepared

_NOWHERE: Final = -1  # no stream is at this sequence
_NONE: Final[Mapping[str, int]] = MappingProxyType({})


class Written(NamedTuple):
    """What became of a round.

    Attributes:
        heads: of each stream of the round, in order, the sequence it was at before it.
        ends: of each commit sent, in order, the position of its last event; any number if its
            stream was not where the round expected it, or its fence was stale, for then it was
            not stored.
        stale: of each name whose newest epoch was not the round's, that epoch. Of a commit that
            was stored before its fence became so, the stream is elsewhere.
    """

    heads: Sequence[int]
    ends: Sequence[int]
    stale: Mapping[str, int] = _NONE


class Round:
    """What is stored in one write: of each stream all events, or nothing.

    Nothing if the stream has moved on, or depends on a lease that is of another epoch by now.

    Attributes:
        streams: each once.
        expected: the sequence each must be at.
        guards: of each, the name in `fences` that its events depend on, or None.
        fences: the epoch that each name must be at.
        events: `(index of the stream, event in the store's form)`, in the order of positions.
        sent: `(index of the stream, commit)`, in the same order.
        size: bytes of payloads and metadata.
    """

    __slots__ = (
        *("_index", "_next", "events", "expected", "fences", "guards", "sent", "size"),
        "streams",
    )

    def __init__(self) -> None:
        self.streams: list[StreamId] = []
        self.expected: list[int] = []
        self.guards: list[str | None] = []
        self.fences: dict[str, int] = {}
        self.events: list[tuple[int, Any]] = []
        self.sent: list[tuple[int, Prepared]] = []
        self.size = 0
        self._index: dict[StreamId, int] = {}
        self._next: list[int | None] = []  # None: a commit of this stream did not fit

    def take(self, commit: Prepared) -> None:
        """Take a commit if it follows upon those taken before it, under the same fences."""
        index = self._index.get(commit.stream_id)
        if index is None:
            index = self._index[commit.stream_id] = len(self.streams)
            self.streams.append(commit.stream_id)
            self.expected.append(commit.expected if commit.error is None else _NOWHERE)
            self.guards.append(None if commit.fence is None else commit.fence.name)
            self._next.append(commit.expected)
        is_guarded = self._is_guarded(commit, self.guards[index])
        if commit.error is not None or self._next[index] != commit.expected or not is_guarded:
            self._next[index] = None
            return
        self._next[index] = commit.expected + len(commit.events)
        self.size += commit.size
        self.sent.append((index, commit))
        self.events += [(index, event) for event in commit.events]

    def _is_guarded(self, commit: Prepared, guard: str | None) -> bool:
        """Note a commit's fence, and return whether it is its stream's."""
        if commit.fence is None:
            return guard is None
        name, epoch = commit.fence
        return self.fences.setdefault(name, epoch) == epoch and guard == name

    def stale(self, newest: Iterable[int]) -> dict[str, int]:
        """Return the newest epoch of each name that is not at the round's.

        Args:
            newest: of each name in `fences`, in order.
        """
        epochs = zip(self.fences.items(), newest, strict=True)
        return {name: epoch for (name, expected), epoch in epochs if epoch != expected}

    def written(
        self, position: int, heads: Sequence[int], stale: Mapping[str, int] = _NONE
    ) -> Written:
        """Return what became of the round in a log whose positions have no holes.

        Args:
            position: the log's last before the round.
            heads: see `Written`.
            stale: see `Written`.
        """
        ends = []
        for index, commit in self.sent:
            if self.admits(index, heads, stale):
                position += len(commit.events)
            ends.append(position)
        return Written(heads, ends, stale)

    def admits(self, index: int, heads: Sequence[int], stale: Mapping[str, int]) -> bool:
        """Return whether what was sent of a stream was stored.

        Args:
            index: the stream's.
            heads: see `Written`.
            stale: see `Written`.
        """
        return heads[index] == self.expected[index] and self.guards[index] not in stale

    def has_stored(self, written: Written) -> bool:
        """Return whether anything of the round was stored."""
        heads, _, stale = written
        return any(self.admits(index, heads, stale) for index, _ in self.sent)
