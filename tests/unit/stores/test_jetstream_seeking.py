"""Seeking finds an event's message with few questions, however a stream has grown."""

import asyncio
import bisect
import random

import msgpack
import pytest
from support import new_seed

from eskernel.errors import StoreUnavailable
from eskernel_stores.heads import Head, Heads
from eskernel_stores.jetstream.connecting.replies import Stored
from eskernel_stores.jetstream.log.freshness import Freshness
from eskernel_stores.jetstream.log.seeking import CLOSE, Seeker

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
    return Seeker(leader, "n", heads, Freshness(leader, timeout=0.2))


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


class StaleLeader(Leader):
    """Knows nothing of the newer messages until it has been asked a few times."""

    def __init__(self, appends, known):
        super().__init__(appends)
        self.whole, self.stored = self.stored, self.stored[:known]
        self.learns_after = 3
        self.left = 0

    def leave(self, since):
        self.left += 1

    async def last(self, stream, subject):
        self._learn()
        return await super().last(stream, subject)

    async def next(self, stream, subject, sequence):
        self._learn()
        return await super().next(stream, subject, sequence)

    def _learn(self):
        if self.asked == self.learns_after:
            self.stored = self.whole


@pytest.mark.parametrize("known", [0, 5])
def test_an_answer_older_than_what_was_seen_is_not_taken(known):
    leader = StaleLeader([(n, 1, 1) for n in range(1, 10)], known)
    seeker = asking(leader, Head(9, 9))
    assert asyncio.run(seeker.head(STREAM)) == Head(9, 9)
    assert leader.asked == 4


def test_what_must_be_there_is_asked_for_until_it_is():
    leader = StaleLeader([(n, 1, 1) for n in range(1, 10)], 5)
    seeker = asking(leader, Head(5, 5), Head(9, 9))
    seeker._passed.put([(STREAM, Head(6, 6))])
    assert asyncio.run(seeker.append_at(STREAM, 7)).message == 7
    assert leader.asked == 4


def test_a_leader_that_does_not_learn_is_left_and_not_believed(monkeypatch):
    monkeypatch.setattr("eskernel_stores.jetstream.log.freshness._PATIENCE", 0.06)
    leader = StaleLeader([(n, 1, 1) for n in range(1, 10)], 5)
    leader.learns_after = -1
    with pytest.raises(StoreUnavailable, match="knows less than this store has seen"):
        asyncio.run(asking(leader, Head(9, 9)).head(STREAM))
    assert leader.left
