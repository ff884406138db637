"""Writing: a round of appends on its way into the log."""

from __future__ import annotations

from collections.abc import Sequence
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
    """

    def __init__(self, round: Round, moved: dict[int, int]) -> None:
        self._round = round
        self._moved = moved
        self._ends: dict[int, int] = {}  # by the commit's index
        self.left = [one for one in round.sent if one[0] not in moved]

    @property
    def has_stored(self) -> bool:
        """Whether anything was inserted."""
        return bool(self._ends)

    def streams(self) -> list[tuple[int, StreamId, int]]:
        """Return the streams that were where the round expects them: index, name and sequence."""
        known = enumerate(zip(self._round.streams, self._round.expected, strict=True))
        return [(index, *one) for index, one in known if index not in self._moved]

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
        return Written(heads, [self._ends.get(one.index, 0) for _, one in self._round.sent])
