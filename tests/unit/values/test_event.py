"""Events never change, open or sealed."""

import copy
import pickle

import pytest

from eskernel import Event
from eskernel.codec import Codec
from eskernel.errors import NotStorable

CODEC = Codec()
OPEN = Event(
    ("bank_account", "acc-1"), 3, "deposited", {"amount": 100}, {"user": [1]}, ("vip",), 5, 7, "c-1"
)
SEALED = OPEN.sealed(CODEC.pack, CODEC.unpack)


@pytest.mark.parametrize("event", [OPEN, SEALED])
@pytest.mark.parametrize("name", ["sequence", "payload", "metadata", "body", "other"])
def test_an_event_cannot_be_changed(event, name):
    with pytest.raises(AttributeError):
        setattr(event, name, 1)


@pytest.mark.parametrize("event", [OPEN, SEALED])
def test_an_event_tells_what_it_was_given(event):
    assert event.stream_id == ("bank_account", "acc-1")
    assert (event.sequence, event.type, event.payload) == (3, "deposited", {"amount": 100})
    assert (event.metadata, event.tags, event.timestamp) == ({"user": [1]}, ("vip",), 5)
    assert (event.position, event.command_id) == (7, "c-1")


def test_what_is_not_given_has_a_default():
    event = Event(("a", "b"), 1, "x", None)
    assert (dict(event.metadata), event.tags, event.timestamp) == ({}, (), 0)
    assert event.position is event.command_id is None


def test_a_sealed_event_equals_the_open_one():
    assert OPEN == SEALED
    assert (OPEN != SEALED) is False
    assert hash(OPEN) == hash(SEALED)
    assert repr(OPEN) == repr(SEALED)


@pytest.mark.parametrize(
    "other",
    [
        Event(*OPEN[:3], {"amount": 1}, *OPEN[4:9]),
        Event(*OPEN[:8]),
        SEALED.at(8),
        "event",
    ],
)
def test_events_differ_when_any_attribute_does(other):
    assert other != OPEN
    assert other != SEALED


def test_the_repr_shows_the_payload():
    event = Event(("a", "b"), 1, "x", {"k": 1}).sealed(CODEC.pack, CODEC.unpack)
    assert repr(event) == (
        "Event(stream_id=('a', 'b'), sequence=1, type='x', payload={'k': 1}, metadata={}, "
        "tags=(), timestamp=0, position=None, command_id=None)"
    )


def test_a_sealed_event_decodes_afresh_at_each_access():
    SEALED.payload["amount"] = 0
    SEALED.metadata["user"].append(2)
    assert SEALED.payload == {"amount": 100}
    assert SEALED.metadata == {"user": [1]}
    assert SEALED.payload is not SEALED.payload


def test_a_sealed_event_does_not_follow_the_object_it_was_made_of():
    payload = {"lines": [1]}
    event = Event(("a", "b"), 1, "x", payload).sealed(CODEC.pack, CODEC.unpack)
    payload["lines"].append(2)
    assert event.payload == {"lines": [1]}


def test_sealing_twice_changes_nothing():
    assert SEALED.sealed(None, None) is SEALED


def test_no_metadata_takes_no_bytes_and_cannot_be_changed():
    event = Event(("a", "b"), 1, "x", None).sealed(CODEC.pack, CODEC.unpack)
    assert event.header == b""
    assert event.metadata == {}
    with pytest.raises(TypeError):
        event.metadata["k"] = 1


@pytest.mark.parametrize("name", ["payload", "metadata"])
def test_sealing_names_what_cannot_be_stored(name):
    values = {"payload": {}, "metadata": {}} | {name: {"k": object()}}
    with pytest.raises(NotStorable) as caught:
        Event(("a", "b"), 1, "x", **values).sealed(CODEC.pack, CODEC.unpack)
    assert caught.value.path == f"{name}['k']"


def test_at_gives_the_event_its_position():
    assert SEALED.at(9).position == 9
    assert SEALED.at(9).at(7) == SEALED
    assert SEALED.position == 7


def test_read_with_changes_how_a_sealed_event_is_decoded():
    assert SEALED.read_with(lambda data: (data,)).payload == (SEALED.body,)
    assert OPEN.read_with(None) is OPEN


@pytest.mark.parametrize("event", [OPEN, SEALED, Event(("a", "b"), 1, "x", None)])
@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda event: pickle.loads(pickle.dumps(event))]
)
def test_copies_are_equal_and_need_no_codec(event, duplicate):
    assert duplicate(event) == event
    assert duplicate(event).unpack is None
