"""Streams: where they end, and what is stored in them already."""

from __future__ import annotations

from typing import Final

from eskernel.values import StreamId
from eskernel_stores.batching import Prepared, Round
from eskernel_stores.heads import Head, Heads
from eskernel_stores.mongo.database import Database, Documents
from eskernel_stores.mongo.documents import end_of, of_stream
from eskernel_stores.mongo.schema import EVENTS

_END: Final = {"sequence": 1, "count": 1}  # the fields that tell where an append ends


class Streams:
    """The streams of a database; may be used from many threads.

    Args:
        database: where they are.

    Attributes:
        heads: where streams were seen to end; marked with the positions of last appends.
    """

    def __init__(self, database: Database) -> None:
        self.heads = Heads()
        self._database = database

    def head(self, stream_id: StreamId) -> int:
        """Return the sequence a stream is at, as a majority has it; raises StoreUnavailable."""
        with self._database.translating(writing=False):
            found = self._events().find_one(of_stream(stream_id), _END, sort=[("sequence", -1)])
        if found is None:
            return 0
        head = Head(int(end_of(found)), int(found["_id"]))
        self.heads.put([(stream_id, head)])
        return head.sequence

    def find(self, commit: Prepared) -> list[int]:
        """Return where a commit is stored already; see `batching.Writer`."""
        place = {**of_stream(commit.stream_id), "sequence": commit.expected + 1}
        with self._database.translating(writing=False):
            found = self._events().find_one(place, {**_END, "append_id": 1})
        if found is None or found.get("append_id") != commit.append_id:
            return []
        return [*range(int(found["_id"]), int(end_of(found, "_id")) + 1)]

    def moved(self, round: Round) -> dict[int, int]:
        """Return by index the sequences of streams that are not where the round expects them."""
        moved = {}
        for index, (stream_id, expected) in enumerate(
            zip(round.streams, round.expected, strict=True)
        ):
            seen = self.heads.get(stream_id)
            if (0 if seen is None else seen.sequence) != expected:
                head = self.head(stream_id)
                if head != expected:
                    moved[index] = head
        return moved

    def _events(self) -> Documents:
        return self._database.collection(EVENTS)
