"""Ledger: a fingerprint of every position a projection has handled, in little space.

The log is cut into ranges of positions. For each the ledger keeps how many events were handled
and a fingerprint of their positions in order: the polynomial hash of Karp and Rabin, "Efficient
randomized pattern-matching algorithms" (IBM J. Res. Dev. 31, 1987), modulo a Mersenne prime. It
tells a position left out, doubled or out of order from the right ones, and the fingerprints of two
neighbouring ranges make that of both. So old ranges can be joined: the ledger stays short, however
long the log grows, and is finest where it is newest.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple, Self

WIDTH: Final = 1024
"""Events handled in the narrowest range."""
LIMIT: Final = 128
"""Ranges kept; at more, the older half is joined in pairs."""

_PRIME: Final = 2**61 - 1
_BASE: Final = 0x15D1B54A32D192ED  # any number will do; this one is random


def fingerprint(positions: Iterable[int], before: int = 0) -> int:
    """Return the fingerprint of positions in order, after those of `before`."""
    value = before
    for position in positions:
        value = (value * _BASE + position) % _PRIME
    return value


def powers(count: int) -> list[int]:
    """Return what a fingerprint is multiplied by when 0 to `count` positions follow."""
    found = [1]
    for _ in range(count):
        found.append(found[-1] * _BASE % _PRIME)
    return found


class Handled(NamedTuple):
    """What was handled in a range of positions.

    Attributes:
        start: the first position of the range.
        stop: the position after its last.
        events: how many were handled.
        fingerprint: of their positions in order.
    """

    start: int
    stop: int
    events: int
    fingerprint: int

    def joined(self, other: Handled) -> Handled:
        """Return what was handled in this range and the next."""
        both = (self.fingerprint * pow(_BASE, other.events, _PRIME) + other.fingerprint) % _PRIME
        return Handled(self.start, other.stop, self.events + other.events, both)


class Ledger(NamedTuple):
    """What a projection has handled, from position 1 on.

    Attributes:
        proved: what was compared with the log and found right, from position 1 on.
        ranges: what comes after it, in order, without gaps.
    """

    proved: Handled = Handled(1, 1, 0, 0)
    ranges: tuple[Handled, ...] = ()

    @property
    def reached(self) -> int:
        """The last position looked at."""
        return (self.ranges[-1] if self.ranges else self.proved).stop - 1

    def after(self, positions: list[int], reached: int) -> Self:
        """Return the ledger after some more events.

        Args:
            positions: of the events handled, rising, all after `self.reached`.
            reached: the last position looked at; those without an event handled had none to handle.
        """
        ranges = list(self.ranges)
        start, rest = self.reached + 1, positions
        while rest or start <= reached:
            room = WIDTH - ranges[-1].events if ranges else 0
            if room <= 0:
                ranges.append(Handled(start, start, 0, 0))
                room = WIDTH
            some, rest = rest[:room], rest[room:]
            stop = rest[0] if rest else reached + 1
            last = ranges[-1]
            value = fingerprint(some, last.fingerprint)
            ranges[-1] = Handled(last.start, stop, last.events + len(some), value)
            start = stop
        if len(ranges) > LIMIT:
            ranges = _shortened(ranges)
        return self._replace(ranges=tuple(ranges))

    def proved_before(self, stop: int) -> Self:
        """Return the ledger with all ranges that end at `stop` or before among the proved."""
        proved, index = self.proved, 0
        while index < len(self.ranges) and self.ranges[index].stop <= stop:
            proved = proved.joined(self.ranges[index])
            index += 1
        return self._replace(proved=proved, ranges=self.ranges[index:])

    def packed(self) -> list[Any]:
        """Return plain data, from which `of` makes the ledger again."""
        return [list(one[1:]) for one in (self.proved, *self.ranges)]

    @classmethod
    def of(cls, packed: list[Any]) -> Self:
        """Return the ledger that `packed` made this of."""
        ranges = []
        start = 1
        for stop, events, value in packed:
            ranges.append(Handled(start, stop, events, value))
            start = stop
        return cls(ranges[0], tuple(ranges[1:]))


def _shortened(ranges: list[Handled]) -> list[Handled]:
    """Join the older half of the ranges in pairs."""
    half = len(ranges) // 4 * 2
    pairs = zip(ranges[:half:2], ranges[1:half:2], strict=True)
    return [older.joined(newer) for older, newer in pairs] + ranges[half:]
