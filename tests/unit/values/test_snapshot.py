"""Snapshots never change, open or sealed."""

import copy
import pickle

import pytest

from eskernel import Snapshot
from eskernel.codec import Codec
from eskernel.errors import NotStorable
from eskernel.values import Receipt

CODEC = Codec()
OPEN = Snapshot(("a", "b"), 10, {"balance": [1]}, "v1", (Receipt("c-1", 9, 10),), 5)
SEALED = OPEN.sealed(CODEC.pack, CODEC.unpack)


@pytest.mark.parametrize("snapshot", [OPEN, SEALED])
@pytest.mark.parametrize("name", ["sequence", "state", "body", "other"])
def test_a_snapshot_cannot_be_changed(snapshot, name):
    with pytest.raises(AttributeError):
        setattr(snapshot, name, 1)


def test_a_sealed_snapshot_equals_the_open_one():
    assert OPEN == SEALED
    assert (OPEN != SEALED) is False
    assert hash(OPEN) == hash(SEALED)
    assert repr(OPEN) == repr(SEALED)


@pytest.mark.parametrize(
    "other", [Snapshot(("a", "b"), 10, {}, "v1", (Receipt("c-1", 9, 10),), 5), None]
)
def test_snapshots_differ_when_any_attribute_does(other):
    assert other != OPEN
    assert other != SEALED


def test_what_is_not_given_has_a_default():
    snapshot = Snapshot(("a", "b"), 1, None)
    assert (snapshot.version, snapshot.receipts, snapshot.timestamp) == ("", (), 0)


def test_the_repr_shows_the_state():
    assert repr(SEALED) == (
        "Snapshot(stream_id=('a', 'b'), sequence=10, state={'balance': [1]}, version='v1', "
        "receipts=(Receipt(command_id='c-1', first=9, last=10),), timestamp=5)"
    )


def test_a_sealed_snapshot_decodes_afresh_at_each_access():
    SEALED.state["balance"].append(2)
    assert SEALED.state == {"balance": [1]}


def test_sealing_twice_changes_nothing():
    assert SEALED.sealed(None, None) is SEALED


def test_sealing_names_what_cannot_be_stored():
    with pytest.raises(NotStorable) as caught:
        Snapshot(("a", "b"), 1, [object()]).sealed(CODEC.pack, CODEC.unpack)
    assert caught.value.path == "state[0]"


def test_read_with_changes_how_a_sealed_snapshot_is_decoded():
    assert SEALED.read_with(lambda data: (data,)).state == (SEALED.body,)
    assert OPEN.read_with(None) is OPEN


@pytest.mark.parametrize("snapshot", [OPEN, SEALED])
@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda snapshot: pickle.loads(pickle.dumps(snapshot))]
)
def test_copies_are_equal_and_need_no_codec(snapshot, duplicate):
    assert duplicate(snapshot) == snapshot
    assert duplicate(snapshot).unpack is None
