"""What travels between processes comes back as it was: commands, outcomes, errors, trees."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, example, given, settings

from eskernel import Accepted, Command, errors
from eskernel.actors.aggregate.bound_domain import BoundDomain
from eskernel.actors.tree import Node
from eskernel.errors import CommandRejected, EskernelError, NotProjected, NotStorable
from eskernel.remote.failures import PLAIN, failure_to_fields, fields_to_failure
from eskernel.remote.trees import fields_to_node, node_to_fields
from eskernel.remote.wire import Ask, Wire, frame_of, parts_of

sys.path.append(str(Path(__file__).parents[1] / "unit" / "codec"))
from codec_samples import TYPES, fingerprint, values

DOMAIN = SimpleNamespace(
    version="1",
    types=TYPES,
    init=dict,
    handle_command=lambda command, state: None,
    apply_event=lambda payload, state: state,
)
BOUND = BoundDomain("kind", DOMAIN)
WIRE = Wire({"kind": BOUND, "other": BOUND}, {})
ERRORS = sorted(
    (
        cls
        for _, cls in inspect.getmembers(errors, inspect.isclass)
        if issubclass(cls, EskernelError) and cls is not EskernelError
    ),
    key=lambda cls: cls.__name__,
)
"""Every class of eskernel.errors but the root, which nobody raises."""

names = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=255
)
words = st.text(st.characters(exclude_categories=["Cs"]))
numbers = st.integers(0, 2**63 - 1)
commands = st.builds(
    Command,
    st.sampled_from(["kind", "other"]),
    names,
    words,
    values,
    command_id=st.none() | names,
    expected_sequence=st.none() | st.integers(0, 2**64 - 1),
    metadata=st.dictionaries(words, values, max_size=3),
    tags=st.lists(names, max_size=3).map(tuple),
)


steady = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)
"""For a machine that others use as well."""


def there(parts: list[bytes]) -> list[list[Any]]:
    """Return what arrives of requests or replies that are sent in one frame."""
    return parts_of(frame_of(parts))


def same(one: Any, other: Any) -> bool:
    return fingerprint(one) == fingerprint(other)


@steady
@given(st.lists(commands, max_size=5))
def test_commands_come_as_they_were_and_in_order(sent):
    packed = [WIRE.pack_command(number, command) for number, command in enumerate(sent)]
    for number, (request, command) in enumerate(zip(there(packed), sent, strict=True)):
        received = WIRE.unpack_command(request)
        assert request[0] == number
        assert type(received) is Command
        assert same(
            (*received[:6], dict(received.metadata), received.tags),
            (*command[:6], dict(command.metadata), command.tags),
        )


@settings(steady, max_examples=30)
@given(names, st.lists(values, max_size=3).map(tuple))
def test_questions_come_as_they_were(name, arguments):
    try:
        packed = WIRE.pack_ask(7, Ask(name, arguments))
    except NotStorable:  # of types that only a domain knows
        return
    (request,) = there([packed])
    received = WIRE.unpack_ask(request)
    assert received.name == name
    assert same(received.arguments, arguments)


events = st.tuples(
    names, values, st.dictionaries(words, values, max_size=2), st.lists(names, max_size=2), numbers
)


def accepted_of(stream_id, sequence, position, facts) -> Accepted:
    """Return an outcome as a kernel makes one: of rows."""
    rows = tuple(
        (
            stream_id,
            sequence + index,
            name,
            BOUND.pack(payload, "payload"),
            BOUND.pack(metadata, "metadata") if metadata else b"",
            tuple(tags),
            timestamp,
            None if index else "its-id",
            None,
            BOUND.unpack,
        )
        for index, (name, payload, metadata, tags, timestamp) in enumerate(facts, 1)
    )
    end = sequence + len(rows)
    return Accepted(stream_id, end, position + len(rows) if rows else None, rows)


outcomes = st.builds(
    accepted_of,
    st.tuples(st.sampled_from(["kind", "other"]), names),
    st.integers(0, 2**62),
    st.integers(0, 2**62),
    st.lists(events, max_size=4),
)


def shown(accepted: Accepted) -> Any:
    return accepted[:3], [
        (*event[:3], event.payload, dict(event.metadata), *event[5:9]) for event in accepted.events
    ]


@steady
@given(outcomes)
def test_outcomes_come_as_they_were(accepted):
    (reply,) = there([WIRE.pack_outcome(3, accepted.stream_id, accepted)])
    received = WIRE.outcome_of(reply, accepted.stream_id)
    assert type(received) is Accepted
    assert same(shown(received), shown(accepted))


@steady
@given(values)
def test_answers_come_as_they_were_or_say_why_not(value):
    try:
        packed = WIRE.pack_value(3, value)
    except NotStorable:
        return
    (reply,) = there([packed])
    assert same(WIRE.value_of(reply), value)


# Errors.


def made(cls: type[EskernelError], draw: Any) -> EskernelError:
    """Return an error of a class with drawn arguments."""
    strategies = {
        "message": words,
        "reason": words,
        "detail": values,
        "stream_id": st.tuples(names, names),
        "known": st.lists(words, max_size=3).map(tuple),
        "retry_after": st.floats(0, 9),
        "started": st.booleans(),
        "outcome_unknown": st.booleans(),
        "accepted": st.none() | outcomes,
        "aggregate_type": values,
        **dict.fromkeys(("expected", "actual", "sequence", "epoch", "newest"), numbers),
        **dict.fromkeys(("position", "reached"), numbers),
    }
    if "__init__" not in vars(cls):
        return cls(draw(words))
    parameters = inspect.signature(cls).parameters
    positional, named = [], {}
    for name in parameters:
        drawn = draw(strategies.get(name, words))
        if parameters[name].kind is inspect.Parameter.KEYWORD_ONLY:
            named[name] = drawn
        else:
            positional.append(drawn)
    return cls(*positional, **named)


def facts_of(error: BaseException) -> Any:
    return {
        name: shown(value) if isinstance(value, Accepted) else value
        for name, value in vars(error).items()
        if name != "__notes__"
    }


def test_an_outcome_of_another_aggregate_than_the_commands_comes_back_as_its_own():
    accepted = Accepted(("other", "b"), 7, None, ())
    (reply,) = there([WIRE.pack_outcome(3, ("kind", "a"), accepted)])
    assert WIRE.outcome_of(reply, ("kind", "a")) == accepted


def travelled(error: BaseException, domain: str = "kind") -> Any:
    (reply,) = there([WIRE.pack_outcome(1, (domain, "a-1"), error)])
    return WIRE.outcome_of(reply, (domain, "a"))


@pytest.mark.parametrize("cls", ERRORS, ids=lambda cls: cls.__name__)
@settings(steady, max_examples=25)
@given(st.data())
def test_every_error_keeps_its_class_message_facts_and_cause(cls, data):
    error = made(cls, data.draw)
    error.__cause__ = CommandRejected("reason", {"as": data.draw(values)})
    received = travelled(error)
    assert type(received) is cls
    assert str(received) == str(error)
    assert same(facts_of(received), facts_of(error))
    assert type(received.__cause__) is CommandRejected
    assert same(received.__cause__.detail, error.__cause__.detail)


@steady
@given(outcomes)
def test_what_was_not_projected_in_time_tells_what_was_stored(accepted):
    received = travelled(NotProjected("too late", "balances", 7, 3, accepted))
    assert same(shown(received.accepted), shown(accepted))


@steady
@given(values)
@example(("\0accepted", ("kind", "a"), [1, 1, []]))
def test_no_detail_is_taken_for_an_outcome(detail):
    assert same(travelled(CommandRejected("no", detail)).detail, detail)


def test_a_fact_that_no_codec_packs_becomes_its_repr():
    received = travelled(CommandRejected("no", detail=range(3)))
    assert received.detail == "range(0, 3)"


@pytest.mark.parametrize(
    "cls", [IndexError, KeyError, LookupError, ModuleNotFoundError, TypeError, ValueError]
)
def test_built_in_errors_that_tell_of_a_wrong_argument_keep_their_class(cls):
    received = travelled(cls("what", 1))
    assert type(received) is cls
    assert received.args == ("what", 1)


class Foreign(Exception):
    pass


@pytest.mark.parametrize("text", ["plain", "half a \ud800", "\0"])
def test_an_exception_of_nobody_here_tells_its_class_message_and_traceback(text):
    try:
        raise Foreign(text)
    except Foreign as error:
        received = travelled(error)
    assert (type(received), received.kind) == (errors.RemoteFailure, f"{__name__}.Foreign")
    assert "test_remote_wire.py" in received.traceback
    assert str(received).startswith(f"{__name__}.Foreign: ")
    assert text == "half a \ud800" or text in str(received)


@pytest.mark.parametrize("text", ["plain", "half a \ud800", "\0"])
def test_an_exception_of_pythons_own_comes_back_as_itself_and_tells_where_it_was_raised(text):
    try:
        raise ZeroDivisionError(text)
    except ZeroDivisionError as error:
        received = travelled(error)
    assert type(received) is ZeroDivisionError
    assert received.args == ((repr(text) if text == "half a \ud800" else text),)
    assert "test_remote_wire.py" in received.__notes__[0]


def test_an_exception_that_cannot_be_told_in_words_is_told_by_its_class():
    class Odd(Exception):
        def __str__(self):
            raise RuntimeError("no words")

    assert travelled(Odd()).kind.endswith("Odd")


def test_errors_that_are_their_own_cause_come_to_an_end():
    error = CommandRejected("no")
    error.__cause__ = cause = CommandRejected("because")
    cause.__cause__ = error
    assert travelled(error).__cause__.reason == "because"


def test_an_own_kind_of_error_arrives_as_the_nearest_that_both_sides_know():
    class TooPoor(CommandRejected):
        pass

    received = travelled(TooPoor("poor", {"has": 1}))
    assert (type(received), received.detail) == (CommandRejected, {"has": 1})

    class OwnRoot(EskernelError):
        pass

    assert type(travelled(OwnRoot("why"))) is EskernelError


def test_a_failure_of_no_domain_travels_without_a_wire():
    fields = PLAIN.unpack(PLAIN.pack(failure_to_fields(errors.InvalidDomain("none"))))
    assert str(fields_to_failure(fields, {})) == "none"


# Trees.

nodes = st.recursive(
    st.builds(Node, words, words, st.none(), st.booleans(), numbers, numbers),
    lambda below: st.builds(
        Node, words, words, st.none(), st.booleans(), numbers, numbers, st.lists(below).map(tuple)
    ),
    max_leaves=10,
)


@steady
@given(nodes)
def test_trees_come_as_they_were(node):
    assert fields_to_node(PLAIN.unpack(PLAIN.pack(node_to_fields(node)))) == node
