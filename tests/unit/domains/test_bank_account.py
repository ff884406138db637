import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domains import bank_account
from eskernel import Command, Rejected
from eskernel.testing import decider

ACCOUNT = decider(bank_account)
HUNDRED = ACCOUNT.given({"type": "deposited", "amount": 100})


def test_a_new_account_is_empty():
    assert bank_account.init() == {"balance": 0}


def test_a_deposit_raises_the_balance():
    outcome = HUNDRED.when("deposit", {"amount": 5})
    outcome.then({"type": "deposited", "amount": 5}).then_state({"balance": 105})


def test_a_withdrawal_lowers_the_balance():
    outcome = HUNDRED.when("withdraw", {"amount": 30})
    outcome.then({"type": "withdrawn", "amount": 30}).then_state({"balance": 70})


def test_the_whole_balance_can_be_withdrawn():
    HUNDRED.when("withdraw", {"amount": 100}).then_state({"balance": 0})


def test_more_than_the_balance_is_refused_with_both_numbers():
    outcome = HUNDRED.when("withdraw", {"amount": 101})
    outcome.then_rejected("insufficient_funds", {"balance": 100, "asked": 101})
    outcome.then_state({"balance": 100})


@pytest.mark.parametrize("kind", ["deposit", "withdraw"])
@pytest.mark.parametrize("amount", [0, -1, True, 1.0, "1", None, [1]])
def test_an_amount_that_is_no_positive_whole_number_is_refused(kind, amount):
    HUNDRED.when(kind, {"amount": amount}).then_rejected("invalid_command")


@pytest.mark.parametrize("payload", [None, {}, {"sum": 1}, 5, "amount", ["amount"]])
def test_a_payload_without_an_amount_is_refused(payload):
    HUNDRED.when("deposit", payload).then_rejected("invalid_command")


@pytest.mark.parametrize("payload", [None, {"amount": 1}])
def test_an_unknown_command_is_refused_telling_what_is_known(payload):
    refused = HUNDRED.when("steal", payload).then_rejected("invalid_command").result
    assert "expected deposit or withdraw" in refused.detail
    assert "'steal'" in refused.detail


def test_an_unknown_event_is_an_error_not_a_withdrawal():
    with pytest.raises(ValueError, match="unknown event"):
        bank_account.apply_event({"type": "frozen", "amount": 1}, {"balance": 1})


amounts = st.integers(1, 50) | st.integers(1, 2**70)
commands = st.lists(st.tuples(st.sampled_from(["deposit", "withdraw"]), amounts))


@settings(deadline=None)
@given(commands)
def test_any_commands_end_where_a_sum_of_signed_amounts_does(commands):
    state, moves = bank_account.init(), []
    for kind, amount in commands:
        move = amount if kind == "deposit" else -amount
        event = bank_account.handle_command(Command("a", "1", kind, {"amount": amount}), state)
        if isinstance(event, Rejected):
            assert sum(moves) + move < 0
        else:
            state = bank_account.apply_event(event, state)
            moves.append(move)
        assert state == {"balance": sum(moves)}
        assert state["balance"] >= 0
