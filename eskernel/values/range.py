"""Range: half-open intervals of sequences or positions."""

from __future__ import annotations

from typing import NamedTuple


class Range(NamedTuple):
    """The whole numbers `n` with `start <= n < stop`; `stop=None` is open above.

    All empty ranges are `equal` (and `==`), and every range contains them.

    Attributes:
        start: first number inside.
        stop: first number past the end, or None for no end.
    """

    start: int = 0
    stop: int | None = None

    @classmethod
    def new(cls, start: int = 0, stop: int | None = None) -> Range:
        """Return `[start, stop)` after checking it.

        Args:
            start: a number of at least 0.
            stop: a number of at least 0, or None for an open upper bound.

        Raises:
            ValueError: a bound is negative or not a whole number.
        """
        for name, bound in (("start", start), ("stop", stop)):
            if bound is None and name == "stop":
                continue
            if not isinstance(bound, int) or isinstance(bound, bool) or bound < 0:
                raise ValueError(
                    f"Range {name} must be a whole number of at least 0, not {bound!r}"
                )
        return cls(start, stop)

    def is_empty(self) -> bool:
        """Return whether no number is inside."""
        return self.stop is not None and self.stop <= self.start

    def equal(self, other: Range) -> bool:
        """Return whether both hold the same numbers."""
        if self.is_empty() or other.is_empty():
            return self.is_empty() and other.is_empty()
        return (self.start, self.stop) == (other.start, other.stop)

    def __eq__(self, other: object) -> bool:
        return self.equal(other) if isinstance(other, Range) else NotImplemented

    def __ne__(self, other: object) -> bool:
        return not self.equal(other) if isinstance(other, Range) else NotImplemented

    def __hash__(self) -> int:
        return hash(()) if self.is_empty() else hash((self.start, self.stop))

    def contains(self, other: int | Range) -> bool:
        """Return whether a number, or every number of a range, is inside."""
        if isinstance(other, Range):
            return other.is_empty() or self.intersection(other).equal(other)
        return self.start <= other and (self.stop is None or other < self.stop)

    def __contains__(self, other: object) -> bool:
        return isinstance(other, int | Range) and self.contains(other)

    def overlaps(self, other: Range) -> bool:
        """Return whether some number is inside both."""
        return not self.intersection(other).is_empty()

    def lt(self, other: Range) -> bool:
        """Return whether every number here is smaller than every number of the other.

        True when either is empty, as there is no pair to say otherwise.
        """
        if self.is_empty() or other.is_empty():
            return True
        return self.stop is not None and self.stop <= other.start

    def intersection(self, other: Range) -> Range:
        """Return the numbers inside both: always one range, perhaps empty."""
        stops = [stop for stop in (self.stop, other.stop) if stop is not None]
        return Range(max(self.start, other.start), min(stops) if stops else None)

    def difference(self, other: Range) -> tuple[Range, ...]:
        """Return the numbers inside this one only, as zero, one or two ranges in order."""
        common = self.intersection(other)
        if common.is_empty():
            pieces = [self]
        else:
            pieces = [Range(self.start, common.start)]
            if common.stop is not None:
                pieces.append(Range(common.stop, self.stop))
        return tuple(piece for piece in pieces if not piece.is_empty())

    def advance(self, number: int) -> Range:
        """Return what is left of this range from `number` on; it never moves back.

        Args:
            number: the first number still wanted, for example the last one read plus 1.
        """
        return Range(max(self.start, number), self.stop)
