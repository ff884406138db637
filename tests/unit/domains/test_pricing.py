from math import exp, log, sqrt
from statistics import NormalDist

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domains import pricing
from domains.pricing import Book, Put, Quoted, price_of
from eskernel.testing import decider

BOOK = decider(pricing, "pricing")
# John C. Hull, "Options, Futures, and Other Derivatives", on binomial trees: it is worth 4.28.
TEXTBOOK = {"spot": 5000, "strike": 5000, "days": 152, "volatility": 0.4, "rate": 0.1}
OTHER = {**TEXTBOOK, "strike": 5500}


def test_a_quote_has_the_price_of_the_textbook():
    BOOK.when("quote", TEXTBOOK).then(Quoted(1, Put(**TEXTBOOK), 428)).then_state(Book(1, 428))


def test_the_book_counts_quotes_and_keeps_the_last_price():
    after = BOOK.when("quote", TEXTBOOK).after.when("quote", OTHER)
    after.then_state(Book(2, price_of(Put(**OTHER))))


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("buy", TEXTBOOK),
        ("quote", None),
        ("quote", {**TEXTBOOK, "colour": "red"}),
        ("quote", {name: value for name, value in TEXTBOOK.items() if name != "rate"}),
        *(("quote", {**TEXTBOOK, "spot": spot}) for spot in (0, True, 50.0, 10**9 + 1)),
        *(("quote", {**TEXTBOOK, "days": days}) for days in (0, 731, "1")),
        *(("quote", {**TEXTBOOK, "volatility": one}) for one in (0.04, 1, float("nan"))),
        *(("quote", {**TEXTBOOK, "rate": one}) for one in (-0.01, 0.21, None)),
    ],
)
def test_a_malformed_command_is_refused(kind, payload):
    BOOK.when(kind, payload).then_rejected("invalid_command")


def black_scholes(put: Put) -> float:
    """Return what it is worth at an interest rate of 0, when nobody sells before the last day."""
    years, cdf = put.days / 365, NormalDist().cdf
    spread = put.volatility * sqrt(years)
    first = log(put.spot / put.strike) / spread + spread / 2
    return put.strike * cdf(spread - first) - put.spot * cdf(-first)


amounts = st.integers(2_000, 20_000)
volatilities = st.floats(0.05, 1.0)
puts = st.builds(Put, amounts, amounts, st.integers(1, 730), volatilities, st.floats(0.0, 0.2))


@settings(deadline=None, max_examples=50)
@given(puts)
def test_a_put_is_worth_what_selling_at_once_brings_and_never_more_than_its_strike(put):
    assert max(0, put.strike - put.spot) <= price_of(put) <= put.strike


@settings(deadline=None, max_examples=50)
@given(amounts, amounts, st.integers(30, 730), volatilities)
def test_without_interest_the_tree_agrees_with_the_formula(spot, strike, days, volatility):
    put = Put(spot, strike, days, volatility, 0.0)
    spread = volatility * sqrt(days / 365)
    assert price_of(put) == pytest.approx(
        black_scholes(put), abs=1 + 0.01 * spot * spread * exp(spread)
    )
