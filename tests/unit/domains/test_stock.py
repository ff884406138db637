import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domains import stock
from domains.stock import Movement, Stock
from eskernel.testing import decider

EMPTY = decider(stock, "stock", "bolt")
FIVE = EMPTY.given(Movement("received", 5))
HELD = FIVE.given_commands(("reserve", {"order": "a", "quantity": 3}))
SHORT = HELD.given_commands(
    ("reserve", {"order": "b", "quantity": 4}), ("reserve", {"order": "c", "quantity": 1})
)


def test_what_is_free_is_reserved_at_once_as_two_events():
    FIVE.when("reserve", {"order": "a", "quantity": 5}).then(
        Movement("requested", 5, "a"), Movement("reserved", 5, "a")
    ).then_state(Stock(0, {}, {"a": 5}))


def test_an_order_for_too_much_waits():
    outcome = FIVE.when("reserve", {"order": "a", "quantity": 6}).then(
        Movement("requested", 6, "a")
    )
    outcome.then_state(Stock(5, {"a": 6}, {}))


def test_a_small_order_does_not_overtake_one_that_waits():
    assert SHORT.state == Stock(2, {"b": 4, "c": 1}, {"a": 3})


def test_a_delivery_serves_everybody_it_suffices_for_in_order():
    SHORT.when("receive", {"quantity": 3}).then(
        Movement("received", 3), Movement("reserved", 4, "b"), Movement("reserved", 1, "c")
    )


def test_a_delivery_too_small_for_the_first_in_line_serves_nobody():
    SHORT.when("receive", {"quantity": 1}).then(Movement("received", 1))


def test_releasing_a_reservation_serves_those_who_wait():
    SHORT.when("release", {"order": "a"}).then(
        Movement("released", 3, "a"), Movement("reserved", 4, "b"), Movement("reserved", 1, "c")
    )


def test_releasing_the_first_in_line_lets_the_next_one_through():
    SHORT.when("release", {"order": "b"}).then(
        Movement("released", 4, "b"), Movement("reserved", 1, "c")
    ).then_state(Stock(1, {}, {"a": 3, "c": 1}))


@pytest.mark.parametrize(("order", "quantity"), [("a", 3), ("b", 4)])
def test_reserving_the_same_again_does_nothing(order, quantity):
    SHORT.when("reserve", {"order": order, "quantity": quantity}).then_nothing()


def test_reserving_another_quantity_for_a_known_order_is_refused():
    HELD.when("reserve", {"order": "a", "quantity": 4}).then_rejected("already_requested", 3)


def test_releasing_an_unknown_order_does_nothing():
    HELD.when("release", {"order": "z"}).then_nothing()


def test_a_reserved_order_ships_and_is_forgotten():
    HELD.when("ship", {"order": "a"}).then(Movement("shipped", 3, "a")).then_state(Stock(2))


@pytest.mark.parametrize("order", ["b", "z"])
def test_an_order_without_a_reservation_does_not_ship(order):
    SHORT.when("ship", {"order": order}).then_rejected("not_reserved", order)


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        *(("receive", {"quantity": n}) for n in (0, -1, True, 1.0, "1", None)),
        *(("reserve", {"order": "z", "quantity": n}) for n in (0, True, None)),
        ("reserve", {"order": 5, "quantity": 1}),
        ("release", None),
        ("ship", {}),
        ("burn", {"quantity": 1}),
    ],
)
def test_a_malformed_command_is_refused(kind, payload):
    SHORT.when(kind, payload).then_rejected("invalid_command")


def test_event_types_carry_the_name_of_the_domain():
    assert stock.event_type(Movement("received", 1)) == "stock.received"


def test_an_unknown_movement_is_an_error():
    with pytest.raises(ValueError, match="unknown movement"):
        stock.apply_event(Movement("stolen", 1), stock.init())


class QueueModel:
    """The same rules as one list of orders in line, served again from scratch after each step."""

    def __init__(self):
        self.free, self.line = 0, []  # the line holds [order, quantity, served]

    def step(self, kind, order, quantity):
        mine = next((entry for entry in self.line if entry[0] == order), None)
        if kind == "receive":
            self.free += quantity
        elif kind == "reserve" and not mine:
            self.line.append([order, quantity, False])
        elif mine and (kind == "release" or (kind == "ship" and mine[2])):
            self.line.remove(mine)
            self.free += mine[1] if kind == "release" and mine[2] else 0
        while (first := next((e for e in self.line if not e[2]), None)) and first[1] <= self.free:
            self.free -= first[1]
            first[2] = True


kinds = st.sampled_from(["receive", "reserve", "reserve", "release", "ship"])
steps = st.lists(st.tuples(kinds, st.sampled_from("abcd"), st.integers(1, 6)), max_size=20)


@settings(deadline=None)
@given(steps)
def test_any_commands_agree_with_a_model_of_one_queue(steps):
    model, after = QueueModel(), EMPTY
    for kind, order, quantity in steps:
        after = after.when(kind, {"order": order, "quantity": quantity}).after
        model.step(kind, order, quantity)
        assert after.state.free == model.free >= 0
        assert list(after.state.waiting.items()) == [
            (o, q) for o, q, done in model.line if not done
        ]
        assert after.state.reserved == {o: q for o, q, done in model.line if done}
