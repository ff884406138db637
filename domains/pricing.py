"""Quotes for American put options: a domain that keeps a core busy, about a millisecond a command.

A put is the right to sell at the strike price, here on any day until it expires. Prices come from
the binomial tree of Cox, Ross and Rubinstein ("Option Pricing: A Simplified Approach", Journal of
Financial Economics 7, 1979). Amounts are whole minor units (cents).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import exp, sqrt
from typing import Any

from eskernel import Command, Rejected

version = 1

_STEPS = 128
_DAYS_A_YEAR = 365
_LIMITS = {  # within them, every node of the tree has probabilities between 0 and 1
    "spot": (1, 10**9),
    "strike": (1, 10**9),
    "days": (1, 730),
    "volatility": (0.05, 2.0),
    "rate": (0.0, 0.2),
}
_EXPECTED = ", ".join(f"{name} {low} to {high}" for name, (low, high) in _LIMITS.items())


@dataclass(frozen=True, slots=True)
class Put:
    """A contract; volatility and interest rate are shares a year, 0.2 for 20 percent."""

    spot: int
    strike: int
    days: int
    volatility: float
    rate: float


@dataclass(frozen=True, slots=True)
class Quoted:
    """The event; quotes are numbered."""

    number: int
    put: Put
    price: int


@dataclass(frozen=True, slots=True)
class Book:
    """The state: how many quotes were given, and the last price."""

    quotes: int = 0
    last: int | None = None


def init() -> Book:
    return Book()


def handle_command(command: Command, state: Book) -> Quoted | Rejected:
    payload = command.payload
    if command.type != "quote" or not _is_priceable(payload):
        return Rejected("invalid_command", f"expected quote with {_EXPECTED}, not {command[2:4]}")
    put = Put(**payload)
    return Quoted(state.quotes + 1, put, price_of(put))


def apply_event(payload: Quoted, state: Book) -> Book:
    return replace(state, quotes=payload.number, last=payload.price)


def price_of(put: Put) -> int:
    """Return what a put is worth.

    Node `i` of level `n` of the tree is a day when the price has risen `i` times and fallen `n - i`
    times. It is worth selling at once, or the mean of the two nodes that may follow, discounted.
    """
    years = put.days / _DAYS_A_YEAR / _STEPS
    up, growth = exp(put.volatility * sqrt(years)), exp(put.rate * years)
    rising = (growth - 1 / up) / (up - 1 / up)
    if_up, if_down = rising / growth, (1 - rising) / growth
    sold = [put.strike - put.spot * up**rises for rises in range(-_STEPS, _STEPS + 1)]
    worth = [max(0.0, gain) for gain in sold[::2]]
    for level in reversed(range(_STEPS)):
        gains = sold[_STEPS - level : _STEPS + level + 1 : 2]
        worth = [
            max(gain, if_down * low + if_up * high)
            for gain, low, high in zip(gains, worth, worth[1:], strict=False)
        ]
    return round(worth[0])


def _is_priceable(payload: Any) -> bool:
    """Return whether the fields are those of a put, of their types, and within the limits."""
    return (
        isinstance(payload, dict)
        and payload.keys() == _LIMITS.keys()
        and all(
            type(payload[name]) is type(low) and low <= payload[name] <= high
            for name, (low, high) in _LIMITS.items()
        )
    )
