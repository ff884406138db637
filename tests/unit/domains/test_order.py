from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domains import order
from domains.order import Cancelled, LineAdded, Order, Paid, Placed, Shipped, Status
from eskernel.testing import decider

TWO_PENS = LineAdded("pen", 2, Decimal("1.50"))
DUE = Decimal("3.00")

NEW = decider(order, "order")
EMPTY = NEW.given(Placed("ada"))
FILLED = EMPTY.given(TWO_PENS)
PAID = FILLED.given(Paid(DUE))
SHIPPED = PAID.given(Shipped())
CANCELLED = FILLED.given(Cancelled(Decimal(0)))

PAYLOADS = {
    "place": {"customer": "ada"},
    "add_line": {"sku": "pen", "quantity": 2, "price": Decimal("1.50")},
    "pay": {"amount": DUE},
    "ship": None,
    "cancel": None,
}


def test_an_order_runs_from_placing_to_shipping():
    placed = NEW.when("place", PAYLOADS["place"]).then(Placed("ada"))
    filled = placed.when("add_line", PAYLOADS["add_line"]).then(TWO_PENS)
    paid = filled.when("pay", {"amount": DUE}).then(Paid(DUE))
    shipped = paid.when("ship").then(Shipped())
    shipped.then_state(Order(Status.SHIPPED, (TWO_PENS,), DUE))


def test_the_total_is_the_sum_of_all_lines():
    EMPTY.given(TWO_PENS, LineAdded("ink", 3, Decimal("0.10"))).when(
        "pay", {"amount": Decimal("3.3")}
    ).then(Paid(Decimal("3.30")))


def test_cancelling_an_unpaid_order_refunds_nothing():
    FILLED.when("cancel").then(Cancelled(Decimal("0.00")))


def test_cancelling_a_paid_order_refunds_what_was_paid():
    PAID.when("cancel").then(Cancelled(DUE))


@pytest.mark.parametrize(
    ("name", "before", "refusals"),
    [
        ("new", NEW, dict.fromkeys(PAYLOADS.keys() - {"place"}, "not_placed")),
        ("empty", EMPTY, {"place": "already_placed", "pay": "nothing_to_pay", "ship": "not_paid"}),
        ("filled", FILLED, {"place": "already_placed", "ship": "not_paid"}),
        (
            "paid",
            PAID,
            {"place": "already_placed", "add_line": "already_paid", "pay": "already_paid"},
        ),
        ("shipped", SHIPPED, dict.fromkeys(PAYLOADS, "already_shipped")),
        ("cancelled", CANCELLED, dict.fromkeys(PAYLOADS, "already_cancelled")),
    ],
)
def test_each_status_refuses_exactly_what_does_not_fit_it(name, before, refusals):
    for kind, payload in PAYLOADS.items():
        outcome = before.when(kind, payload)
        if kind in refusals:
            outcome.then_rejected(refusals[kind]).then_state(before.state)
        else:
            outcome.then_accepted()


@pytest.mark.parametrize("amount", ["2.99", "3.01", "0", "-3"])
def test_only_the_exact_amount_pays(amount):
    detail = {"due": DUE, "offered": Decimal(amount)}
    FILLED.when("pay", {"amount": Decimal(amount)}).then_rejected("wrong_amount", detail)


@pytest.mark.parametrize(
    "change",
    [
        *({"price": Decimal(p)} for p in ("0", "-1", "0.001", "1e6", "1e99", "nan", "inf", "snan")),
        *({"price": p} for p in (1, 1.5, "1.50", None)),
        *({"quantity": q} for q in (0, -1, 10_001, True, 1.0, "1", None)),
        *({"sku": s} for s in ("", 5, None)),
    ],
    ids=repr,
)
def test_a_line_that_makes_no_sense_is_refused(change):
    EMPTY.when("add_line", PAYLOADS["add_line"] | change).then_rejected("invalid_command")


@pytest.mark.parametrize(
    ("before", "kind", "payload"),
    [
        (NEW, "place", None),
        (NEW, "place", {}),
        (NEW, "place", {"customer": ""}),
        (NEW, "place", {"customer": 7}),
        (NEW, "teleport", None),
        (EMPTY, "add_line", {"sku": "pen"}),
        (FILLED, "pay", {"amount": 3}),
        (FILLED, "pay", {"amount": Decimal("nan")}),
        (FILLED, "pay", {"amount": Decimal("snan")}),
        (FILLED, "pay", None),
        (PAID, "ship", {"to": "mars"}),
        (PAID, "cancel", {"why": "bored"}),
    ],
)
def test_a_malformed_command_is_refused_telling_what_is_expected(before, kind, payload):
    refused = before.when(kind, payload).then_rejected("invalid_command").result
    assert "expected place(customer)" in refused.detail


def test_an_order_without_lines_cannot_be_paid_with_nothing():
    EMPTY.when("pay", {"amount": Decimal(0)}).then_rejected("nothing_to_pay")


def test_prices_are_kept_in_cents_whatever_the_digits_given():
    line = {"sku": "car", "quantity": 1, "price": Decimal("1E+2")}
    EMPTY.when("add_line", line).then(LineAdded("car", 1, Decimal("100.00")))


class CentsModel:
    """The same rules as a set of flags and an integer of cents."""

    def __init__(self):
        self.done, self.cents = set(), 0

    def accepts(self, kind, cents):
        if "shipped" in self.done or "cancelled" in self.done:
            return False
        open_ = "placed" in self.done and "paid" not in self.done
        allowed = {
            "place": not self.done,
            "add_line": open_,
            "pay": open_ and self.cents > 0 and cents == self.cents,
            "ship": "paid" in self.done,
            "cancel": bool(self.done),
        }[kind]
        if allowed and kind == "add_line":
            self.cents += cents
        elif allowed:
            self.done.add(
                {"place": "placed", "pay": "paid", "ship": "shipped"}.get(kind, "cancelled")
            )
        return allowed


steps = st.tuples(st.sampled_from([*PAYLOADS, "add_line", "pay"]), st.sampled_from([1, 999, None]))


@settings(deadline=None)
@given(st.lists(steps, max_size=15), st.booleans())
def test_any_commands_agree_with_a_model_in_cents(steps, placed):
    model, after = CentsModel(), NEW
    for kind, asked in [("place", 1)] * placed + steps:
        cents = asked or model.cents or 50
        price = Decimal(cents) / 100
        payload = {"customer": "ada", "sku": "x", "quantity": 1, "price": price, "amount": price}
        outcome = after.when(kind, None if kind in ("ship", "cancel") else payload)
        assert isinstance(outcome.result, tuple) == model.accepts(kind, cents)
        after = outcome.after
    assert after.state.total == Decimal(model.cents) / 100
