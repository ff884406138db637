import pytest
from hypothesis import given
from hypothesis import strategies as st

from domains import account_balances, bank_account
from eskernel import Event
from eskernel.projections import Definition


def moved(account, sequence, kind, amount):
    payload = {"type": kind, "amount": amount}
    return Event(("bank_account", account), sequence, kind, payload)


def balances(*events):
    state = account_balances.init()
    for event in events:
        state = account_balances.handle_event(event, state)
    return state


def test_it_is_a_projection_of_bank_accounts():
    found = Definition("balances", account_balances)
    assert (found.aggregate_types, found.version, found.tables) == ({"bank_account"}, "1", ())


def test_each_account_has_what_was_deposited_less_what_was_withdrawn():
    assert balances(
        moved("a", 1, "deposited", 100),
        moved("b", 1, "deposited", 7),
        moved("a", 2, "withdrawn", 30),
    ) == {"a": 70, "b": 7}


MOVES = st.lists(st.tuples(st.sampled_from("ab"), st.booleans(), st.integers(1, 1000)))


@given(MOVES)
def test_it_agrees_with_the_domain(moves):
    states, events = {}, []
    for account, deposits, amount in moves:
        event = moved(account, 1, "deposited" if deposits else "withdrawn", amount)
        before = states.get(account, bank_account.init())
        states[account] = bank_account.apply_event(event.payload, before)
        events.append(event)
    assert balances(*events) == {name: state["balance"] for name, state in states.items()}


def test_an_event_it_does_not_know_is_an_error():
    with pytest.raises(KeyError):
        balances(moved("a", 1, "frozen", 1))
