"""Writing: a round of appends on its way into the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from bson import Int64

from eskernel.values import StreamId
from eskernel_stores.batching import Prepared, Round, Written
from eskernel_stores.mongo.documents import Sized

MOST_BYTES: Final = 1 << 24
"""Bytes in one insert, unless a single document has more."""

MOST_DOCUMENTS: Final = 10_000
"""Documents in one insert; a server takes 100,000, and 48 MB, as one command."""


class Writing:
    """A round on its way: what is left of it, and what has become of the rest.

    Args:
        round: the round.
        moved: by index the sequences of its streams that are not where it expects them.

    Attributes:
        left: what is still to be inserted, as in `Round.sent`, in order.
        stale: the newest epochs of names that were found not to be at the round's.
    """

    def __init__(self, round: Round, moved: dict[int, int]) -> None:
        self._round = round
        self._moved = moved
        self._ends: dict[int, int] = {}  # by the commit's index
        self.stale: dict[str, int] = {}
        self.left = [one for one in round.sent if one[0] not in moved]

    @property
    def has_stored(self) -> bool:
        """Whether anything was inserted."""
        return bool(self._ends)

    def streams(self) -> list[tuple[int, StreamId, int]]:
        """Return the streams that were where the round expects them: index, name and sequence."""
        known = enumerate(zip(self._round.streams, self._round.expected, strict=True))
        return [(index, *one) for index, one in known if index not in self._moved]

    def fences(self) -> dict[str, int]:
        """Return the epochs that what is left depends on, by name."""
        if not self._round.fences:
            return {}
        return dict(commit.fence for _, commit in self.left if commit.fence is not None)

    def doubtful(self) -> dict[str, int]:
        """Return epochs that nobody has asked about since a stream under them was found moved."""
        if not self._round.fences:
            return {}
        guards = self._round.guards
        moved = {guards[index] for index in self._moved}
        asked = {guards[index] for index, _ in self._round.sent if index not in self._moved}
        return {
            name: epoch
            for name, epoch in self._round.fences.items()
            if name not in self.stale and (name in moved or name not in asked)
        }

    def refuse(self, stale: Mapping[str, int]) -> None:
        """Give up what is left under epochs that are not the newest; tells these by name."""
        if stale:
            self.stale.update(stale)
            guards = self._round.guards
            self.left = [one for one in self.left if guards[one[0]] not in stale]

    def refused(self) -> list[tuple[int, StreamId]]:
        """Return the streams whose epochs are not the newest: index and name."""
        guards = enumerate(self._round.guards)
        return [(index, self._round.streams[index]) for index, name in guards if name in self.stale]

    def next(self, end: int) -> list[tuple[int, Prepared]]:
        """Return what goes into one command, numbered to follow upon a position."""
        size = 0
        for number, (_, commit) in enumerate(self.left):
            whole: Sized = commit.whole
            size += whole.size
            if number and (size > MOST_BYTES or number == MOST_DOCUMENTS):
                return self.left[:number]
            whole.document["_id"] = Int64(end + 1)
            end += len(commit.events)
        return self.left[:]

    def note(self, inserted: Sequence[tuple[int, Prepared]], end: int) -> int:
        """Take note of what was inserted behind a position, and return the last."""
        for _, commit in inserted:
            end += len(commit.events)
            self._ends[commit.index] = end
        del self.left[: len(inserted)]
        return end

    def lose(self, index: int, head: int) -> None:
        """Give up what is left of a stream, which is at another sequence."""
        self._moved[index] = head
        self.left = [one for one in self.left if one[0] != index]

    def written(self) -> Written:
        """Return what became of the round."""
        expected = self._round.expected
        heads = [self._moved.get(index, at) for index, at in enumerate(expected)]
        ends = [self._ends.get(one.index, 0) for _, one in self._round.sent]
        return Written(heads, ends, self.stale)
