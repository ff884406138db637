"""Writing: rounds of appends, each in one message or one atomic batch of messages."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Final

from eskernel.errors import CorruptStore, NotStorable, StoreUnavailable
from eskernel.values import StreamId
from eskernel_stores.batching import Prepared, Round, Written
from eskernel_stores.heads import Head, Heads
from eskernel_stores.jetstream.connecting.connection import MOST_MESSAGES
from eskernel_stores.jetstream.connecting.replies import EXPECTED, Ack, ApiError, Message
from eskernel_stores.jetstream.log.appends import INDEX_BITS
from eskernel_stores.jetstream.log.freshness import Freshness
from eskernel_stores.jetstream.log.seeking import Seeker
from eskernel_stores.jetstream.service import Service

_ASKED_AT_ONCE: Final = 64  # heads; servers drop questions when they get too many
_PAUSE: Final = 0.02  # seconds for what is under way on the same streams to be done
_NOBODY_WROTE: Final = Head(0, 0)
_UNREADABLE: Final = Head(-2, 0)  # fits no commit

Sent = Sequence[tuple[int, Prepared]]


class Writing:
    """Stores rounds; the coroutines are for the connection's loop.

    A refusal may come from a leader that does not know yet that there is another, which stores
    what this one refuses. So it counts only for streams that are seen to have moved on.

    Args:
        service: the servers.
        seeker: knows where the streams' events are.
        heads: what is known of the streams; the marks are the numbers of messages.
        freshness: is told of what is stored.
    """

    def __init__(
        self, service: Service, seeker: Seeker, heads: Heads, freshness: Freshness
    ) -> None:
        self._connection = service.connection
        self._hints = service.hints
        self._timeout = service.timeout
        self._seeker = seeker
        self._heads = heads
        self._freshness = freshness
        self._asking = asyncio.Semaphore(_ASKED_AT_ONCE)

    async def write(self, round: Round) -> Written:
        """Store a round; see `batching.Writer`."""
        heads = await self._assumed(round)
        ends: dict[int, int] = {}
        if sent := _fitting(round, heads):
            try:
                ack = await self._publish(sent, heads)
            except ApiError as error:
                heads, ends = await self._write_again(round, heads, sent, error)
            else:
                ends = self._note(sent, ack)
        return Written(
            [head.sequence for head in heads], [ends.get(id(commit), 0) for _, commit in round.sent]
        )

    async def _write_again(
        self, round: Round, heads: list[Head], sent: Sent, refusal: ApiError
    ) -> tuple[list[Head], dict[int, int]]:
        """Store what a refusal leaves of a round, and return its heads and ends.

        Raises:
            StoreUnavailable: it was no matter of sequences; or something else has kept the rest
                from being stored, and then the outcome is unknown.
        """
        deadline = asyncio.get_running_loop().time() + self._timeout
        while True:
            is_over = asyncio.get_running_loop().time() > deadline
            if is_over or not refusal.is_wrong_sequence:
                raise StoreUnavailable.because(refusal, outcome_unknown=is_over) from refusal
            try:
                before = heads
                heads = await self._asked(round, heads, {index for index, _ in sent})
                if heads == before:  # what moved them, if anything has, is not to be seen yet
                    await asyncio.sleep(_PAUSE)
                if not (sent := _fitting(round, heads)):
                    return heads, {}
                return heads, self._note(sent, await self._publish(sent, heads))
            except ApiError as error:
                refusal = error
            except StoreUnavailable as error:
                raise StoreUnavailable.because(error, outcome_unknown=True) from error

    async def find(self, commit: Prepared) -> list[int]:
        """Return where a commit is stored already; see `batching.Writer`."""
        found = await self._seeker.append_at(commit.stream_id, commit.expected + 1)
        if (
            found is None
            or found.append_id != commit.append_id
            or found.first != commit.expected + 1
        ):
            return []
        return [found.position + index for index in range(found.count)]

    async def _assumed(self, round: Round) -> list[Head]:
        """Return where the streams end; what is said of those that fit may be out of date."""
        heads = [
            self._heads.get(stream_id) or _NOBODY_WROTE  # a new stream's, if it was never seen
            for stream_id in round.streams
        ]
        doubtful = {
            index
            for index, expected in enumerate(round.expected)
            if heads[index].sequence != expected
        }
        return await self._asked(round, heads, doubtful)

    async def _asked(
        self, round: Round, heads: Sequence[Head], indexes: Collection[int]
    ) -> list[Head]:
        """Return heads, those with these indexes as the stream's leader has them."""
        ordered = sorted(indexes)
        found = await asyncio.gather(*(self._head(round, index) for index in ordered))
        changed = dict(zip(ordered, found, strict=True))
        return [changed.get(index, head) for index, head in enumerate(heads)]

    async def _head(self, round: Round, index: int) -> Head:
        """Return where a stream ends, or that it cannot be read, which fails its commits alone."""
        try:
            async with self._asking:
                return await self._seeker.head(round.streams[index])
        except (CorruptStore, NotStorable) as error:
            for sent_index, commit in round.sent:
                if sent_index == index:
                    commit.error = error
            return _UNREADABLE

    async def _publish(self, sent: Sent, heads: Sequence[Head]) -> Ack:
        """Send commits; of each stream the first message says where it must be."""
        messages: list[Message] = []
        begun: set[int] = set()
        for index, commit in sent:
            subject = self._seeker.subject_of(commit.stream_id)
            for payload in commit.whole:
                if index in begun:  # a second expectation for a subject would be refused
                    messages.append(Message(subject, payload))
                else:
                    begun.add(index)
                    expected = {EXPECTED: str(heads[index].mark)}
                    messages.append(Message(subject, payload, expected))
        return await self._connection.publish_batch(messages)

    def _note(self, sent: Sent, ack: Ack) -> dict[int, int]:
        """Return the last position of each commit, by its id, and remember where streams end."""
        message = ack.sequence - ack.count + 1
        ends: dict[int, int] = {}
        heads: list[tuple[StreamId, Head]] = []
        for _, commit in sent:
            ends[id(commit)] = (message << INDEX_BITS) + len(commit.events) - 1
            message += len(commit.whole)
            end = commit.expected + len(commit.events)
            heads.append((commit.stream_id, Head(end, message - 1)))
        self._heads.put(heads)
        self._freshness.note(ack.sequence)
        self._hints.appended()
        return ends


class Room:
    """Says whether a batch of messages has room for another commit; see `batching.HasRoom`."""

    def __init__(self) -> None:
        self._round: Round | None = None
        self._messages = 0

    def __call__(self, round: Round, commit: Prepared) -> bool:
        """Return whether a round, asked about for each of its commits but the first, can take one.

        Of the first there are at most as many messages as of the largest batch.
        """
        if round is not self._round:
            self._round = round
            self._messages = sum(len(taken.whole) for _, taken in round.sent)
        self._messages += len(commit.whole or ())
        return self._messages <= MOST_MESSAGES


def _fitting(round: Round, heads: Sequence[Head]) -> Sent:
    """Return the commits of streams that are where the round expects them."""
    return [
        (index, commit)
        for index, commit in round.sent
        if heads[index].sequence == round.expected[index]
    ]
