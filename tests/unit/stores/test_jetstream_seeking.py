"""Seeking finds an event's message with few questions, however a stream has grown."""

import asyncio
import bisect
import random

import msgpack
import pytest
from support import new_seed

from eskernel.errors import CorruptStore
from eskernel_stores.heads import Head, Heads
from eskernel_stores.jetstream.replies import Stored
from eskernel_stores.jetstream.seeking import CLOSE, Seeker

STREAM = ("t", "a")
EVENT = ("happened", b"", b"", (), 0, None)


class Leader:
    """Answers for one subject as the stream's leader would, and counts the questions.

    Args:
        appends: `(number of the first message, events, messages)`, in order.
    """

    def __init__(self, appends):
        self.asked = 0
        self.stored = []
        self.begins = []  # of each append: sequence of the first event, number of the message
        first = 1
        for message, count, chunks in appends:
            body = b"" if chunks > 1 else [EVENT] * count
            self.begins.append((first, message))
            for chunk in range(chunks):
                payload = msgpack.packb((1, first, count, b"i", chunk, chunks, body))
                self.stored.append(Stored("s", message + chunk, payload, ""))
            first += count
        self.end = first - 1

    async def last(self, stream, subject):
        self.asked += 1
        return self.stored[-1] if self.stored else None

    async def next(self, stream, subject, sequence):
        self.asked += 1
        index = bisect.bisect_left(self.stored, sequence, key=lambda one: one.sequence)
        return self.stored[index] if index < len(self.stored) else None

    def begin_of(self, sequence):
        return self.begins[bisect.bisect_right(self.begins, (sequence, 1 << 62)) - 1]


def asking(leader, *known):
    heads = Heads()
    heads.put((STREAM, head) for head in known)
    return Seeker(leader, "n", heads)


def grown(random, number):
    """Return appends with gaps of other streams' messages, of any length, some of them bursts."""
    message, appends = 1, []
    for _ in range(number):
        message += random.choice((0, 0, 0, 1, 5, random.randrange(2000)))
        chunks = random.choice((1, 1, 1, 1, 3))
        appends.append((message, random.choice((1, 1, 2, 50)), chunks))
        message += chunks
    return appends


def test_every_event_is_found():
    chance = random.Random(new_seed())
    for number in (1, 2, 30, 700):
        leader = Leader(grown(chance, number))
        for sequence in {1, leader.end, *chance.choices(range(1, leader.end + 1), k=60)}:
            seeker = asking(leader)
            found = asyncio.run(seeker.append_at(STREAM, sequence))
            assert (found.first, found.position >> 20) == leader.begin_of(sequence)
        assert asyncio.run(asking(leader).append_at(STREAM, leader.end + 1)) is None


def test_reading_begins_shortly_before():
    chance = random.Random(new_seed())
    leader = Leader(grown(chance, 3000))
    for sequence in chance.choices(range(1, leader.end + 1), k=200):

        async def seek(sequence=sequence):
            seeker = asking(leader)
            return await seeker.before(STREAM, sequence, await seeker.last(STREAM))

        begin = asyncio.run(seek())
        first, message = leader.begin_of(sequence)
        assert begin <= message
        passed = [one for one in leader.begins if begin <= one[1] < message]
        assert not passed or first - passed[0][0] <= CLOSE + 50 or message - begin <= CLOSE + 3


@pytest.mark.parametrize(
    "numbers",
    [
        pytest.param(lambda n: 10 * n, id="even"),
        pytest.param(lambda n: n if n < 50_000 else 10_000_000 + n, id="a gap"),
        pytest.param(lambda n: n * n, id="ever slower"),
        pytest.param(lambda n: int(1.0004**n) + n, id="much slower in the end"),
    ],
)
def test_few_questions_are_asked(numbers):
    leader = Leader([(numbers(n), 1, 1) for n in range(1, 60_000, 3)])
    for sequence in (1, 2, 500, 7_000, 10_000, leader.end - 300, leader.end - 1):
        leader.asked = 0
        assert asyncio.run(asking(leader).append_at(STREAM, sequence)).first == sequence
        assert leader.asked <= 2 * 25 + 2


def test_even_growth_takes_a_handful_of_questions():
    leader = Leader([(5 * n, 2, 1) for n in range(1, 50_000)])
    for sequence in range(1, leader.end, 9_999):
        leader.asked = 0
        assert asyncio.run(asking(leader).append_at(STREAM, sequence))
        assert leader.asked <= 8


def test_what_was_stored_instead_of_a_refused_append_takes_one_question():
    leader = Leader([(5 * n, 2, 1) for n in range(1, 1000)])

    async def find():
        seeker = asking(leader, Head(600, 1500))
        assert (await seeker.head(STREAM)).sequence == leader.end  # as after the refusal
        return await seeker.append_at(STREAM, 601)

    assert asyncio.run(find()).message == 1505
    assert leader.asked == 2


def test_what_was_seen_of_a_stream_need_not_be_asked_for():
    leader = Leader([(5 * n, 2, 1) for n in range(1, 1000)])

    async def seek():
        seeker = asking(leader, Head(600, 1500))
        return await seeker.before(STREAM, 601, await seeker.last(STREAM))

    assert asyncio.run(seek()) == 1501
    assert leader.asked == 1


def test_messages_that_were_deleted_are_said_to_be_missing():
    leader = Leader([(5 * n, 2, 1) for n in range(1, 1000)])

    async def seek():
        seeker = asking(leader)
        last = await seeker.last(STREAM)
        del leader.stored[5:]
        return await seeker.before(STREAM, 1000, last)

    with pytest.raises(CorruptStore, match=r"missing from n-events.* restore a backup"):
        asyncio.run(seek())
