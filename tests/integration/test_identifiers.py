"""Ids of any text, through commands, passivation, snapshots and pictures."""

from __future__ import annotations

from enum import StrEnum

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kernel_helpers import (
    TYPE,
    ProbedStore,
    Tally,
    add,
    attempt,
    events_of,
    snapshot_past,
    stop_aggregate,
)

from eskernel import Command, Kernel
from eskernel.errors import EskernelError

IDS = [
    "../../etc/passwd",
    "/",
    ".",
    "C:\\con",
    "💥👩‍👩‍👧‍👦",
    "x" * 255,
    "💥" * 255,
    " ",
    " a",
    "a ",
    "two words",
    "line\nbreak\r\n\ttab",
    "%2F",
    "%00",
    "a/b",
    "'; DROP TABLE events; --",
    '"quoted"',
    "\u00e4",  # composed
    "a\u0308",  # the same letter, decomposed: another id
    "A",
    "a",
    "*",
    "$where",
    "\u202eright to left",
    "\ufeff",
    "\x01\x7f\x85\u2028",
    "null",
    "0",
]


def test_each_of_these_ids_is_an_aggregate_of_its_own(start, store):
    kernel = start(snapshot_interval=2, passivation_timeout=1000)
    assert len(set(IDS)) == len(IDS)
    for round_ in range(2):
        for number, name in enumerate(IDS):
            done = kernel.dispatch(add(name, number, command_id=name))
            assert (done.stream_id, done.sequence) == ((TYPE, name), 1)
        for name in IDS:
            if round_ == 0:
                stop_aggregate(kernel, name)
    for number, name in enumerate(IDS):
        assert kernel.dispatch(add(name, number)).sequence == 2
        assert kernel.outcome_of(TYPE, name, name).sequence == 1
        snapshot_past(store, 2, name)
        stop_aggregate(kernel, name)
        assert kernel.state_of(TYPE, name) == ({"total": 2 * number, "count": 2}, 2)
        assert [event.payload["n"] for event in events_of(store, name)] == [number] * 2
    assert len(kernel.live_aggregates()) == len(IDS)
    assert "etc/passwd" in str(kernel.tree(max_aggregates=100))


def test_an_aggregate_type_may_be_any_text_as_well(start, store):
    domains = {name: Tally() for name in IDS}
    kernel = start(domains=domains)
    for name in IDS:
        assert kernel.dispatch(Command(name, name, "add", 1)).stream_id == (name, name)
    assert sorted(kernel.live_aggregates()) == sorted((name, name) for name in IDS)


def test_two_ids_cannot_be_mistaken_for_one_by_where_they_are_divided(start, store):
    kernel = start(domains={"a": Tally(), "a/b": Tally()})
    kernel.dispatch(Command("a", "b/c", "add", 1))
    kernel.dispatch(Command("a/b", "c", "add", 2))
    assert kernel.state_of("a", "b/c")[0]["total"] == 1
    assert kernel.state_of("a/b", "c")[0]["total"] == 2


valid_text = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=255
)


@pytest.fixture(scope="module", params=[True, False], ids=["immediate", "deferred"])
def running(request):
    store = ProbedStore(immediate=request.param)
    with Kernel({TYPE: Tally()}, store) as kernel:
        yield kernel, store


@settings(deadline=None, max_examples=150)
@example("\U0010ffff" * 255)
@given(name=valid_text)
def test_any_valid_text_is_an_id_a_command_id_and_a_tag(running, name):
    kernel, store = running
    before = len(events_of(store, name))
    command_id = name[:200] + str(before)
    done = kernel.dispatch(add(name, command_id=command_id, tags=(name,), metadata={name: name}))
    assert done.stream_id == (TYPE, name)
    assert done.sequence == before + 1
    event = events_of(store, name)[-1]
    assert (event.command_id, event.tags, event.metadata) == (command_id, (name,), {name: name})
    stop_aggregate(kernel, name)
    assert kernel.dispatch(add(name, command_id=command_id)) == done


@settings(deadline=None, max_examples=150)
@given(bad=st.one_of(st.text(max_size=300), st.binary(), st.integers(), st.none(), st.floats()))
def test_anything_is_an_id_or_refused(running, bad):
    kernel, _ = running
    valid = (
        isinstance(bad, str)
        and 1 <= len(bad) <= 255
        and "\0" not in bad
        and not any("\ud800" <= letter <= "\udfff" for letter in bad)
    )
    outcome = attempt(kernel.dispatch, add(bad))
    assert isinstance(outcome, EskernelError) is not valid
    if valid:
        stop_aggregate(kernel, bad)


class Name(StrEnum):
    FIRST = "first"


def test_a_string_of_a_subclass_never_makes_a_second_aggregate_of_one_name(start, store):
    kernel = start()
    kernel.dispatch(add("first"))
    attempt(kernel.dispatch, add(Name.FIRST))
    assert len(kernel.live_aggregates()) == 1
    sequences = [event.sequence for event in store.fold_all(lambda a, e: [*a, e], [])[0]]
    assert len(sequences) == len(set(sequences)), "two events of one name have one sequence"
