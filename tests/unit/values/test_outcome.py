"""Outcomes: Accepted and Rejected."""

import copy
import dataclasses
import pickle

import pytest

from eskernel import Accepted, Event, Rejected
from eskernel.codec import Codec

CODEC = Codec()
STREAM = ("a", "b")
STORED = tuple(
    Event(STREAM, sequence, "x", {"n": sequence}).sealed(CODEC.pack, CODEC.unpack)
    for sequence in (4, 5, 6)
)
DONE = Accepted(STREAM, 6, 42, STORED)


def test_the_events_have_consecutive_positions_up_to_the_last():
    assert [event.position for event in DONE.events] == [40, 41, 42]
    assert [event.sequence for event in DONE.events] == [4, 5, 6]


def test_a_command_that_stored_nothing_has_no_events():
    assert Accepted(STREAM, 6, None, ()).events == ()


def test_the_events_are_copies():
    DONE.events[0].payload["n"] = 0
    assert DONE.events[0].payload == {"n": 4}


@pytest.mark.parametrize("name", ["sequence", "position", "events", "other"])
def test_an_outcome_cannot_be_changed(name):
    with pytest.raises(AttributeError):
        setattr(DONE, name, 1)


def test_outcomes_are_equal_when_their_events_are():
    placed = Accepted(STREAM, 6, 42, DONE.events)
    assert placed == DONE
    assert (placed != DONE) is False
    assert hash(placed) == hash(DONE)


@pytest.mark.parametrize(
    "other", [Accepted(STREAM, 6, 43, STORED), Accepted(STREAM, 6, 42, STORED[1:]), None, ()]
)
def test_outcomes_differ_when_anything_does(other):
    assert other != DONE


def test_the_repr_shows_the_events():
    shown = repr(Accepted(STREAM, 6, None, ()))
    assert shown == "Accepted(stream_id=('a', 'b'), sequence=6, position=None, events=())"
    assert "position=41" in repr(DONE)


def test_a_rejection_is_a_frozen_value():
    refused = Rejected("insufficient_funds", {"missing": 5})
    assert refused == Rejected("insufficient_funds", {"missing": 5})
    assert refused != Rejected("insufficient_funds")
    assert Rejected("closed").detail is None
    assert repr(Rejected("closed")) == "Rejected(reason='closed', detail=None)"
    with pytest.raises(dataclasses.FrozenInstanceError):
        refused.reason = "other"


def test_an_outcome_comes_back_from_a_pickle_and_a_copy_as_it_was():
    accepted = Accepted(STREAM, 6, 9, STORED)
    assert pickle.loads(pickle.dumps(accepted)) == accepted
    assert [event.payload for event in copy.deepcopy(accepted).events] == [
        {"n": 4},
        {"n": 5},
        {"n": 6},
    ]
