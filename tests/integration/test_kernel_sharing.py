"""What callers hold shares no mutable object with live state or with what is stored."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import pytest
from kernel_helpers import TYPE, Gate, attempt, command, events_of, snapshot_past, stop_aggregate

from eskernel import Rejected
from eskernel.errors import CommandRejected


@dataclass
class Line:
    """A payload that can be changed itself."""

    items: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class Frozen:
    """A payload that cannot be changed, but what it holds can."""

    items: list[Any] = field(default_factory=list)
    names: frozenset[str] = frozenset({"x"})


class Keeper:
    """A domain whose state holds the payloads, just as it was given them."""

    version = 1
    types = (Line, Frozen)

    def __init__(self):
        self.returned = []
        self.before = lambda *_: None

    def init(self):
        return {"kept": []}

    def handle_command(self, command, state):
        self.before(command, state)
        match command.type:
            case "refuse with state":
                return Rejected("no", state["kept"])
            case "repeat state":
                return [state["kept"]]
        self.returned.append(command.payload)
        return [command.payload]

    def event_type(self, payload):
        return "kept"

    def apply_event(self, payload, state):
        return {"kept": [*state["kept"], payload]}


PAYLOADS = {
    "dict": lambda: {"items": [1, {"deep": [2]}], "empty": {}},
    "flat dict": lambda: {"n": 1, "text": "x"},
    "list": lambda: [1, [2, {"x": {3}}]],
    "set": lambda: {1, 2},
    "tuple": lambda: (1, [2], {"x": []}),
    "dataclass": lambda: Line([1, [2]]),
    "frozen dataclass": lambda: Frozen([1, {"x": [2]}]),
}


def spoil(value):
    """Change everything in a value that can be changed."""
    if isinstance(value, dict):
        for one in list(value.values()):
            spoil(one)
        value["spoilt"] = True
    elif isinstance(value, list):
        for one in value:
            spoil(one)
        value.append("spoilt")
    elif isinstance(value, set):
        value.add("spoilt")
    elif isinstance(value, tuple):
        for one in value:
            spoil(one)
    elif is_dataclass(value):
        for one in fields(value):
            spoil(getattr(value, one.name))
        attempt(setattr, value, "items", "spoilt")


@pytest.fixture
def domain():
    return Keeper()


@pytest.fixture(params=PAYLOADS)
def kept(request, start, store, domain):
    """A kernel that has kept one payload; the outcome; and a check that nothing has changed."""
    make = PAYLOADS[request.param]
    kernel = start(snapshot_interval=1)
    sent = command("keep", make(), command_id="once", metadata={"deep": [1]})
    done = kernel.dispatch(sent)

    def check():
        assert kernel.state_of(TYPE, "a")[0] == {"kept": [make()]}
        (event,) = events_of(store)
        unpack = kernel.dispatch(sent).events[0].unpack
        assert event.read_with(unpack).payload == make()
        assert event.metadata == {"deep": [1]}
        assert kernel.outcome_of(TYPE, "a", "once").events[0].payload == make()
        assert done.events[0].payload == make()
        assert done.events[0].metadata == {"deep": [1]}
        stop_aggregate(kernel)
        assert kernel.state_of(TYPE, "a")[0] == {"kept": [make()]}

    check()
    return kernel, sent, done, check


def test_the_checks_would_notice():
    for make in PAYLOADS.values():
        value = make()
        spoil(value)
        assert value != make()


def test_the_commands_payload_and_metadata_may_be_changed_afterwards(kept, domain):
    _, sent, _, check = kept
    spoil(sent.payload)
    spoil(sent.metadata)
    check()
    for payload in domain.returned:
        spoil(payload)
    check()


def test_the_events_of_an_outcome_may_be_changed(kept):
    kernel, sent, done, check = kept
    for outcome in (done, kernel.dispatch(sent), kernel.outcome_of(TYPE, "a", "once")):
        for event in outcome.events:
            spoil(event.payload)
            spoil(event.metadata)
        check()


def test_a_copy_of_the_state_may_be_changed(kept):
    kernel, _, _, check = kept
    for _ in range(2):
        state, _ = kernel.state_of(TYPE, "a")
        spoil(state)
        check()


def test_what_the_store_hands_out_may_be_changed(kept, store):
    kernel, sent, _, check = kept
    unpack = kernel.dispatch(sent).events[0].unpack

    def spoil_event(number, event):
        event = event.read_with(unpack)
        spoil(event.payload)
        spoil(event.metadata)
        return number + 1

    assert store.fold((TYPE, "a"), spoil_event, 0) == 1
    assert store.fold_all(spoil_event, 0) == (1, 1)
    check()


def test_a_snapshot_may_be_changed(kept, store):
    _, _, _, check = kept
    snapshot_past(store, 1)
    check()
    codec_of = snapshot_past(store, 1)
    assert isinstance(codec_of.body, bytes), "what the kernel stores is packed"


def test_a_state_given_back_as_a_payload_is_a_copy(start, store):
    kernel = start()
    kernel.dispatch(command("keep", {"list": [1]}))
    done = kernel.dispatch(command("repeat state"))
    expected = {"kept": [{"list": [1]}, [{"list": [1]}]]}
    assert kernel.state_of(TYPE, "a")[0] == expected
    spoil(done.events[0].payload)
    assert kernel.state_of(TYPE, "a")[0] == expected


def test_the_detail_of_a_refusal_is_not_the_live_state(start):
    kernel = start()
    kernel.dispatch(command("keep", {"list": [1]}))
    for send in (kernel.dispatch, lambda one: kernel.submit(one).result(5)):
        with pytest.raises(CommandRejected) as refusal:
            send(command("refuse with state"))
        spoil(refusal.value.detail)
        assert kernel.state_of(TYPE, "a")[0] == {"kept": [{"list": [1]}]}


def test_tags_given_as_a_list_are_refused_or_copied(start, store):
    kernel = start()
    for tags in ([], ["x"]):
        before = copy.copy(tags)
        attempt(kernel.dispatch, command("keep", {"n": 1}, aggregate_id="t", tags=tags))
        tags.append("spoilt")
        assert all(list(event.tags) == before for event in events_of(store, "t"))


def test_a_payload_changed_by_its_caller_while_it_is_stored_is_stored_as_it_was(start, store):
    kernel = start()
    payload = {"items": [1]}
    with Gate() as gate:
        store.hook_append = gate
        future = kernel.submit(command("keep", payload))
        gate.wait()
        spoil(payload)
    assert future.result(5).events[0].payload == {"items": [1]}
    assert kernel.state_of(TYPE, "a")[0] == {"kept": [{"items": [1]}]}
