"""The ledger: what a store must hold, may hold and must not hold, by what its writers told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eskernel.testing.conformance.tools import require, require_equal
from eskernel.testing.crash.appends import Append
from eskernel.testing.crash.reports import DOWN, FAILED, REFUSED, STORED, TRY


class Ledger:
    """Every append of a campaign, and how it ended.

    Args:
        may_be_down: whether something happens to the store that excuses it from answering.

    Attributes:
        tried: all appends ever handed to the store, by token.
        stored: position of the last event of those acknowledged, or seen after a crash.
        forbidden: tokens of those that must not be there: conflicts, or said not to be stored.
        floors: by token, the highest position acknowledged before the append was tried.
        heads: last sequence of each stream, as last seen.
        outages: how often the store was down.
        unknown: of these, how often it did not know whether it had stored the append.
    """

    def __init__(self, *, may_be_down: bool = False) -> None:
        self._may_be_down = may_be_down
        self.tried: dict[str, Append] = {}
        self.stored: dict[str, int] = {}
        self.forbidden: set[str] = set()
        self.floors: dict[str, int] = {}
        self.heads: dict[str, int] = {}
        self.outages = 0
        self.unknown = 0
        self._floor = 0

    def hear(self, report: Sequence[Any]) -> bool:
        """Take down a writer's report.

        Returns:
            Whether it acknowledged an append.

        Raises:
            AssertionError: the writer met what no store may do.
        """
        what, *facts = report
        if what == TRY:
            for fields in facts[0]:
                append = Append(*fields)
                self.tried[append.token] = append
                self.floors[append.token] = self._floor
        elif what == STORED:
            for token, position in facts[0]:
                require(token not in self.forbidden, f"{token} was refused, and then stored")
                self.keep(token, position)
        elif what == REFUSED:
            self.forbidden.add(facts[0])
        elif what == DOWN:
            token, outcome_unknown = facts
            require(self._may_be_down, "the store was unavailable, though nothing had happened")
            self.outages += 1
            self.unknown += outcome_unknown
            if not outcome_unknown:
                self.forbidden.add(token)
        elif what == FAILED:
            raise AssertionError(f"a writing thread met {facts[0]}")
        return bool(what == STORED)

    def keep(self, token: str, position: int) -> None:
        """Note that from now on the store must hold an append, at this position."""
        before = self.stored.setdefault(token, position)
        require_equal(position, before, f"position of {token}")
        self._floor = max(self._floor, position)

    def pending(self) -> list[Append]:
        """Return the appends whose outcome nobody knows, in the order they were tried."""
        known = self.stored.keys() | self.forbidden
        return [append for token, append in self.tried.items() if token not in known]

    def abandon(self, token: str) -> None:
        """Note that an append without an outcome was not stored, and never will be."""
        self.forbidden.add(token)

    def copy(self) -> Ledger:
        """Return a ledger that goes on from here by itself."""
        other = Ledger()
        other.__dict__.update(
            {
                name: value.copy() if isinstance(value, dict | set) else value
                for name, value in self.__dict__.items()
            }
        )
        return other
