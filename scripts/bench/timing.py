"""Timing: loads run in turn in one process, so that what slows the machine slows them all."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from time import perf_counter
from typing import NamedTuple, TypeVar

from scripts.bench.figure import RATIO, Figure, a_second

K = TypeVar("K")

Say = Callable[[str], None]
"""Takes a word on the progress of a measure."""


class Load(NamedTuple):
    """Something to time.

    Attributes:
        size: how many commands, or whatever is counted, one run carries out.
        run: carries them out, or returns the seconds it timed itself.
    """

    size: int
    run: Callable[[], float | None]

    def rate(self) -> float:
        """Return how many are carried out in a second, timed once."""
        gc.collect()  # nobody pays for a neighbour's garbage
        start = perf_counter()
        timed = self.run()
        return self.size / (perf_counter() - start if timed is None else timed)


class Rates(NamedTuple):
    """The rates of two loads, round by round.

    Attributes:
        ours, theirs: per second.
    """

    ours: list[float]
    theirs: list[float]

    @property
    def ratio(self) -> float:
        """How many times as fast ours is: the median of the rounds' ratios."""
        return median(self._ratios())

    def figure(self, measure: str, at_least: float | None = None) -> Figure:
        """Return the comparison as a line of the table."""
        ours, theirs = median(self.ours), median(self.theirs)
        shown = f"{a_second(ours)} against {a_second(theirs)}"
        details = {"ours": ours, "theirs": theirs, "ratios": self._ratios()}
        return Figure(measure, self.ratio, RATIO, shown, at_least, details=details)

    def _ratios(self) -> list[float]:
        return [mine / other for mine, other in zip(self.ours, self.theirs, strict=True)]


def alternate(rounds: int, ours: Load, theirs: Load, say: Say) -> Rates:
    """Run two loads in turn, after one round that does not count."""
    return Rates(*take_turns(rounds, {"ours": ours, "theirs": theirs}, say).values())


def take_turns(rounds: int, loads: Mapping[K, Load], say: Say) -> dict[K, list[float]]:
    """Run any number of loads in turn, after one round that does not count.

    Returns:
        The rates of each, round by round.
    """
    rates: dict[K, list[float]] = {name: [] for name in loads}
    for number in range(rounds + 1):
        say(f"round {number} of {rounds}")
        for name, load in loads.items():
            rate = load.rate()
            if number:
                rates[name].append(rate)
    return rates


def quantile(numbers: Sequence[float], share: float) -> float:
    """Return the number that `share` of the numbers do not exceed."""
    ordered = sorted(numbers)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def scaled(count: int, scale: float, least: int = 1) -> int:
    """Return a count made smaller or larger for a quick or a thorough run."""
    return max(int(count * scale), least)


def rounds(count: int, scale: float) -> int:
    """Return the number of rounds: fewer, but three at least, where the test tries a measure."""
    return min(count, scaled(count, 10 * scale, least=3))


def size_for(load_of: Callable[[int], Load], seconds: float, least: int) -> int:
    """Return a size with which a load takes about so many seconds, found by trying smaller ones.

    Args:
        load_of: makes a load of a size.
        seconds: how long it is to take.
        least: the smallest size.
    """
    size = least
    while (taken := size / load_of(size).rate()) < seconds / 4:
        size *= 4
    return max(int(size * seconds / taken), least)
