"""Appends whose whole content follows from a seed and a token, in any process."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, NamedTuple

from eskernel.contracts import Commit
from eskernel.testing.crash.breakage import seeded
from eskernel.values import Event, Snapshot, StreamId

TYPE: Final = "crash"
LARGEST: Final = 5
"""Events in the largest append."""


class Append(NamedTuple):
    """One append to try.

    Attributes:
        token: names it; used for no other append of a campaign.
        stream: id of its aggregate.
        expected: the sequence the stream must be at.
    """

    token: str
    stream: str
    expected: int

    @property
    def stream_id(self) -> StreamId:
        """Type and id of the aggregate."""
        return TYPE, self.stream

    def last(self, seed: int) -> int:
        """Return the sequence of the last event."""
        return self.expected + size_of(seed, self.token)

    def events(self, seed: int) -> list[Event]:
        """Return the events, from one to `LARGEST` of very different sizes."""
        random = seeded(seed, self.token, "fill")
        size = size_of(seed, self.token)
        return [
            Event(
                self.stream_id,
                self.expected + index + 1,
                "wrote",
                {
                    "append": self.token,
                    "index": index,
                    "of": size,
                    "fill": random.randbytes(int(3 ** (random.random() * 6.5 + 1)) - 3),
                },
                {"by": self.token},
                ("crash",),
                timestamp=index + 1,
                command_id=self.token,
            )
            for index in range(size)
        ]

    def commit(self, seed: int) -> Commit:
        """Return the append as a store takes it; two of three have an id."""
        return Commit(self.stream_id, self.events(seed), self.expected, id_of(seed, self.token))


def size_of(seed: int, token: str) -> int:
    """Return how many events the append of a token has."""
    return 1 + _number(seed, token, "size") % LARGEST


def id_of(seed: int, token: str) -> int | None:
    """Return the append_id of a token, if it has one."""
    number = _number(seed, token, "id")
    return number if number % 3 else None


def snapshot_of(seed: int, stream: str, sequence: int) -> Snapshot:
    """Return the only snapshot there may be of a stream at a sequence."""
    random = seeded(seed, stream, sequence)
    state = {"stream": stream, "at": sequence, "fill": random.randbytes(random.randrange(3000))}
    return Snapshot((TYPE, stream), sequence, state, "1")


def _number(*parts: object) -> int:
    text = "/".join(map(str, parts))
    return int.from_bytes(blake2b(text.encode(), digest_size=16).digest(), "big")
