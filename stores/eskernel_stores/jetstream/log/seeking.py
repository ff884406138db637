"""Seeking: where in the stream of messages the events of one stream are.

JetStream finds the last message of a subject, and the first one from a number on. Whoever wants an
event in the middle narrows down between which messages it must be: by interpolation, since most
streams grow evenly, and by bisection every other time, since some do not (as in Perl, Itai and
Avni, "Interpolation search: a log log N search", 1978, with a bound on the worst case).
"""

from __future__ import annotations

from typing import Final

from eskernel.errors import CorruptStore
from eskernel.values import StreamId
from eskernel_stores.heads import Head, Heads
from eskernel_stores.jetstream.connecting.connection import Connection
from eskernel_stores.jetstream.connecting.replies import Stored
from eskernel_stores.jetstream.log.appends import Placed, read
from eskernel_stores.jetstream.log.freshness import Freshness
from eskernel_stores.jetstream.streams import events_stream, events_subjects
from eskernel_stores.jetstream.subjects import to_token

CLOSE: Final = 256
"""Messages that are rather read and passed over than asked about."""


class Seeker:
    """Finds messages; the coroutines are for the connection's loop, and ask the stream's leader.

    Args:
        connection: to the servers.
        name: of the store.
        heads: what is known of the streams; the marks are the numbers of messages.
        freshness: how new answers must be.

    Attributes:
        stream: what the stream of events is called.
    """

    def __init__(
        self, connection: Connection, name: str, heads: Heads, freshness: Freshness
    ) -> None:
        self._connection = connection
        self._prefix = events_subjects(name)
        self._heads = heads
        self._freshness = freshness
        # What was known of streams that have moved on: what was stored there since is asked for
        # next, by whoever was refused for it, and by who catches up.
        self._passed = Heads()
        self.stream = events_stream(name)

    def subject_of(self, stream_id: StreamId) -> str:
        """Return the subject of a stream's messages; NotStorable if its names are too long."""
        aggregate_type, aggregate_id = stream_id
        return (
            f"{self._prefix}{to_token(aggregate_type, 'aggregate_type')}."
            f"{to_token(aggregate_id, 'aggregate_id')}"
        )

    async def head(self, stream_id: StreamId) -> Head:
        """Return where a stream ends."""
        last = await self.last(stream_id)
        return Head(0, 0) if last is None else Head(last.last, last.message)

    async def last(self, stream_id: StreamId) -> Placed | None:
        """Return a stream's last message; None if it has none.

        Raises:
            CorruptStore: it cannot be read.
        """
        subject = self.subject_of(stream_id)
        known = self._heads.get(stream_id)
        found = await self._freshness.ask(
            lambda: self._connection.last(self.stream, subject),
            lambda found: known is None or (found is not None and found.sequence >= known.mark),
        )
        if found is None:
            return None
        self._freshness.note(found.sequence)
        placed = _placed(found, stream_id)
        self._note(stream_id, Head(placed.last, placed.message))
        return placed

    async def append_at(self, stream_id: StreamId, sequence: int) -> Placed | None:
        """Return a message of the append that has an event; None if there is no such event."""
        known = self._known_before(stream_id, sequence)
        head = self._heads.get(stream_id)
        if known.sequence == sequence - 1 and head is not None and head.sequence >= sequence:
            return await self._from(stream_id, known.mark + 1)  # it was refused for this one
        last = await self.last(stream_id)
        if last is None or last.last < sequence:
            return None
        message = await self.before(stream_id, sequence, last, close=0)
        while (placed := await self._from(stream_id, message)).last < sequence:
            message = placed.message + 1
        return placed

    async def before(
        self, stream_id: StreamId, sequence: int, last: Placed, close: int = CLOSE
    ) -> int:
        """Return the number of a message shortly before or at the append that has an event.

        Args:
            stream_id: of the event.
            sequence: of the event, which is there.
            last: the stream's last message.
            close: how many events or messages before it are near enough.
        """
        high = Head(last.first, last.message - last.chunk)
        if sequence >= high.sequence:
            return high.mark
        low = self._known_before(stream_id, sequence)
        interpolate = True
        while sequence - low.sequence > close + 1 and high.mark - low.mark > close + 1:
            guess = _guess(low, high, sequence - close // 2 if interpolate else None)
            interpolate = not interpolate
            found = await self._from(stream_id, guess)
            if found.last < sequence:
                low = Head(found.last, found.message)
            elif found.first > sequence:
                high = Head(found.first, guess)
            else:
                return found.message - found.chunk
        return low.mark + 1

    def _note(self, stream_id: StreamId, head: Head) -> None:
        """Remember where a stream ends, and where it was thought to."""
        before = self._heads.get(stream_id)
        if before is not None and before.sequence < head.sequence:
            self._passed.put(((stream_id, before),))
        self._heads.put(((stream_id, head),))

    def _known_before(self, stream_id: StreamId, sequence: int) -> Head:
        """Return an end before an event: where the stream was once seen to end, or its start."""
        seen = (self._passed.get(stream_id), self._heads.get(stream_id))
        return max(
            (head for head in seen if head is not None and head.sequence < sequence),
            default=Head(0, 0),
        )

    async def _from(self, stream_id: StreamId, message: int) -> Placed:
        """Return a stream's first message from a number on, where there is one."""
        subject = self.subject_of(stream_id)
        found = await self._freshness.ask(
            lambda: self._connection.next(self.stream, subject, message),
            lambda found: found is not None,
        )
        assert found is not None
        return _placed(found, stream_id)


def _guess(low: Head, high: Head, sequence: int | None) -> int:
    """Return the number of a message between two: where an event should be, or in the middle.

    It is at least one after `low`, and at most one before `high`.
    """
    between = high.mark - low.mark
    share = 0.5
    if sequence is not None:
        share = (sequence - low.sequence) / max(high.sequence - low.sequence, 1)
    return low.mark + min(max(int(between * share), 1), between - 1)


def _placed(found: Stored, stream_id: StreamId) -> Placed:
    try:
        return read(found.payload, found.sequence)
    except ValueError as error:
        raise CorruptStore(
            f"message {found.sequence} of stream {stream_id} cannot be read: {error}", stream_id
        ) from error
