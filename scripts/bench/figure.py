"""Figure: one measured number, and whether it is good enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

RATIO = "ratio"
"""The unit of a figure that compares two ways inside one run."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table.

    Attributes:
        measure: what was measured, in words.
        value: the number; a median, where there were several rounds.
        unit: its unit; `RATIO` for none.
        shown: the number or numbers behind it, for people.
        at_least, at_most: the target; neither for a figure that only informs.
        details: further numbers, for bench.json.
        cell: row and column in the table of backends; empty if it has no place there.
    """

    measure: str
    value: float
    unit: str
    shown: str
    at_least: float | None = None
    at_most: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    cell: Sequence[str] = ()

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.at_least is None and self.at_most is None:
            return None
        low = self.at_least is None or self.value >= self.at_least
        return low and (self.at_most is None or self.value <= self.at_most)

    @property
    def target(self) -> str:
        """The target in words; empty without one."""
        unit = "" if self.unit == RATIO else f" {self.unit}"
        if self.at_least is not None:
            return f"≥ {self.at_least:,g}{unit}"
        return "" if self.at_most is None else f"≤ {self.at_most:,g}{unit}"


def a_second(rate: float) -> str:
    """Return a rate for people, to three digits: `1,230,000/s`."""
    return f"{float(f'{rate:.3g}'):,.0f}/s"


def digits(number: float, count: int) -> str:
    """Return a number for people, to so many significant digits: `0.0044`, `120`."""
    return f"{float(f'{number:.{count}g}'):g}"
