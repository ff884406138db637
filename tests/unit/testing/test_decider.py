import itertools
from dataclasses import FrozenInstanceError
from decimal import Decimal
from types import SimpleNamespace

import pytest

from domains import bank_account
from eskernel import Command, Rejected
from eskernel.errors import InvalidDomain
from eskernel.testing import decider

DEPOSITED = {"type": "deposited", "amount": 100}
ACCOUNT = decider(bank_account).given(DEPOSITED)
ADDED = {"type": "added"}


def domain(**functions):
    """A domain that counts, with some of its functions replaced."""
    return SimpleNamespace(
        **{
            "init": lambda: {"n": 0},
            "handle_command": lambda command, state: {"type": "added"},
            "apply_event": lambda payload, state: {"n": state["n"] + 1},
            **functions,
        }
    )


def answering(decision):
    return decider(domain(handle_command=lambda command, state: decision)).when("add")


def boom(*_):
    raise KeyError("boom")


def failing(match):
    return pytest.raises(AssertionError, match=match)


class TestExpectations:
    def test_the_right_events_pass(self):
        ACCOUNT.when("withdraw", {"amount": 10}).then({"type": "withdrawn", "amount": 10})

    def test_other_events_fail_showing_both_and_the_question(self):
        with pytest.raises(AssertionError) as failure:
            ACCOUNT.when("withdraw", {"amount": 10}).then({"type": "withdrawn", "amount": 11})
        assert str(failure.value) == (
            "withdraw {'amount': 10} on state {'balance': 100}\n"
            "  expected: events [{'type': 'withdrawn', 'amount': 11}]\n"
            "  actual:   events [{'type': 'withdrawn', 'amount': 10}]"
        )

    def test_a_missing_an_additional_and_a_displaced_event_fail(self):
        outcome = answering([{"type": "a"}, {"type": "b"}])
        outcome.then({"type": "a"}, {"type": "b"})
        for wrong in ([{"type": "a"}], [{"type": "b"}, {"type": "a"}], []):
            with failing("expected: events"):
                outcome.then(*wrong)

    def test_lists_and_tuples_of_events_mean_the_same(self):
        answering(({"type": "a"}, {"type": "b"})).then({"type": "a"}, {"type": "b"})

    def test_a_rejection_where_events_are_expected_fails(self):
        with failing("actual:   rejected as 'insufficient_funds' with {'balance': 100"):
            ACCOUNT.when("withdraw", {"amount": 101}).then({"type": "withdrawn", "amount": 101})

    def test_the_right_rejection_passes_with_and_without_its_detail(self):
        outcome = answering(Rejected("full", 7))
        outcome.then_rejected("full").then_rejected("full", 7)

    @pytest.mark.parametrize("wrong", [("empty",), ("full", 8), ("full", None)])
    def test_another_rejection_fails(self, wrong):
        with failing("expected: to be rejected as .*\n.*rejected as 'full' with 7"):
            answering(Rejected("full", 7)).then_rejected(*wrong)

    def test_events_where_a_rejection_is_expected_fail(self):
        with failing("actual:   events"):
            answering(ADDED).then_rejected("full")

    @pytest.mark.parametrize("decision", [None, [], ()])
    def test_nothing_to_do_passes_and_is_no_rejection(self, decision):
        outcome = answering(decision).then_nothing().then().then_accepted()
        with failing("actual:   nothing to do"):
            outcome.then_rejected("full")

    @pytest.mark.parametrize("decision", [ADDED, Rejected("full")])
    def test_something_where_nothing_is_expected_fails(self, decision):
        with failing("expected: nothing to do"):
            answering(decision).then_nothing()

    def test_a_rejection_is_not_accepted(self):
        with failing("expected: to be accepted"):
            answering(Rejected("full")).then_accepted()

    def test_the_state_after_the_command_is_compared(self):
        outcome = answering(ADDED).then_state({"n": 1})
        with failing("expected: state {'n': 2}\n  actual:   state {'n': 1}"):
            outcome.then_state({"n": 2})

    def test_a_rejection_leaves_the_state_as_it_was(self):
        answering(Rejected("full")).then_state({"n": 0})

    @pytest.mark.parametrize("function", ["handle_command", "apply_event"])
    def test_the_right_exception_passes_and_any_other_expectation_fails(self, function):
        outcome = decider(domain(**{function: boom})).when("add").then_raises(KeyError)
        outcome.then_raises(LookupError)
        with failing(r"expected: to raise ValueError\n  actual:   raised KeyError\('boom'\)"):
            outcome.then_raises(ValueError)
        expectations = (
            lambda: outcome.then(ADDED),
            outcome.then_nothing,
            outcome.then_accepted,
            lambda: outcome.then_rejected("full"),
            lambda: outcome.then_state({"n": 0}),
        )
        for expectation in expectations:
            with failing("raised KeyError") as failure:
                expectation()
            assert isinstance(failure.value.__cause__, KeyError)

    def test_no_exception_where_one_is_expected_fails(self):
        with failing("expected: to raise KeyError\n  actual:   events"):
            answering(ADDED).then_raises(KeyError)

    def test_an_assertion_of_the_domain_is_an_exception_like_others(self):
        def refuse(command, state):
            raise AssertionError("invariant")

        decider(domain(handle_command=refuse)).when("add").then_raises(AssertionError)


class TestSteps:
    def test_a_whole_command_can_be_given(self):
        def seen(command, state):
            return {"type": command.type, "tags": list(command.tags)}

        command = Command("counter", "7", "add", tags=("x",))
        decider(domain(handle_command=seen)).when(command).then({"type": "add", "tags": ["x"]})

    def test_commands_are_addressed_as_told(self):
        def seen(command, state):
            return {"type": "seen", "by": list(command.stream_id)}

        tested = decider(domain(handle_command=seen), "counter", "7")
        tested.when("add").then({"type": "seen", "by": ["counter", "7"]})

    def test_given_commands_build_the_state(self):
        commands = [("deposit", {"amount": 1}), Command("a", "1", "deposit", {"amount": 2})]
        assert ACCOUNT.given_commands(*commands).state == {"balance": 103}

    def test_given_commands_must_be_accepted(self):
        with failing("expected: to be accepted\n  actual:   rejected as 'insufficient_funds'"):
            ACCOUNT.given_commands(("withdraw", {"amount": 101}))

    def test_an_outcome_goes_on_with_the_next_command(self):
        outcome = ACCOUNT.when("withdraw", {"amount": 60}).when("withdraw", {"amount": 60})
        outcome.then_rejected("insufficient_funds", {"balance": 40, "asked": 60})

    def test_steps_change_nothing_that_came_before(self):
        empty = decider(bank_account)
        rich = empty.given(DEPOSITED)
        rich.when("withdraw", {"amount": 100})
        assert (empty.state, rich.state) == ({"balance": 0}, {"balance": 100})
        with pytest.raises(FrozenInstanceError):
            rich.state = {"balance": 1}

    def test_a_domain_without_its_functions_is_refused(self):
        with pytest.raises(InvalidDomain):
            decider(SimpleNamespace(init=dict))


class TestContract:
    def test_handle_command_may_not_change_the_payload(self):
        tested = decider(domain(handle_command=lambda c, s: c.payload["items"].append(1)))
        with failing(
            "handle_command changed its command payload; .*\n"
            r"  before: {'items': \[\]}"
            "\n"
            r"  after:  {'items': \[1\]}"
        ):
            tested.when("add", {"items": []})

    def test_handle_command_may_not_change_the_state(self):
        tested = decider(domain(handle_command=lambda c, s: s.update(n=5)))
        with failing("handle_command changed its state"):
            tested.when("add")

    def test_handle_command_may_not_change_the_metadata(self):
        tested = decider(domain(handle_command=lambda c, s: c.metadata.update(n=5)))
        with failing("handle_command changed its command metadata"):
            tested.when(Command("a", "1", "add", metadata={}))

    def test_apply_event_may_not_change_the_state(self):
        def apply_event(payload, state):
            state["n"] += 1
            return state

        with failing("apply_event changed its state"):
            decider(domain(apply_event=apply_event)).given(ADDED)

    def test_apply_event_may_not_change_the_event(self):
        tested = decider(domain(apply_event=lambda payload, state: {"n": payload.popitem()[1]}))
        with failing("apply_event changed its event payload"):
            tested.when("add")

    def test_even_a_change_that_compares_equal_is_seen(self):
        tested = decider(domain(handle_command=lambda c, s: c.payload.update(n=True)))
        with failing("changed its command payload"):
            tested.when("add", {"n": 1})

    def test_objects_that_only_equal_themselves_are_no_false_alarm(self):
        tested = decider(domain())
        tested.when("add", {"thing": object(), "nan": float("nan")}).then(ADDED)

    @pytest.mark.parametrize(
        ("function", "answer"),
        [
            ("init", lambda n: lambda: {"n": next(n)}),
            ("handle_command", lambda n: lambda c, s: {"type": "added", "n": next(n)}),
            ("apply_event", lambda n: lambda p, s: {"n": next(n)}),
            ("event_type", lambda n: lambda p: str(next(n))),
        ],
    )
    def test_every_function_answers_the_same_question_alike(self, function, answer):
        impure = domain(**{function: answer(itertools.count())})
        with failing(f"{function} is not pure: .*\n  first: .*0.*\n  then:  .*1"):
            decider(impure).when("add")

    def test_an_event_that_cannot_be_stored_fails_telling_where(self):
        with failing(r"cannot be stored: event payload\['x'\]"):
            answering({"type": "added", "x": object()})

    def test_a_state_that_cannot_be_stored_fails_telling_where(self):
        tested = decider(domain(apply_event=lambda payload, state: {"n": object()}))
        with failing(r"cannot be stored: state\['n'\]"):
            tested.given(ADDED)

    def test_an_initial_state_that_cannot_be_stored_fails(self):
        shared = object()
        with failing("cannot be stored: state"):
            decider(domain(init=lambda: shared))

    def test_values_that_are_stored_exactly_pass(self):
        event = {"type": "added", "x": [(1, -0.0), Decimal("1.50"), {2**70}, float("nan"), b"\0"]}
        tested = decider(domain(handle_command=lambda c, s: event))
        assert tested.when("add").then_state({"n": 1}).result == (event,)

    def test_an_event_type_that_is_no_string_fails(self):
        with failing("event_type returned 7, not a string"):
            decider(domain(event_type=lambda payload: 7)).given(ADDED)

    def test_an_event_without_a_type_is_an_invalid_domain(self):
        answering({"kind": "added"}).then_raises(InvalidDomain)
