"""Commands are immutable and cheap."""

import copy
import pickle

import pytest

from eskernel import Command

FULL = Command(
    "bank_account",
    "acc-1",
    "deposit",
    {"amount": 100},
    command_id="c-1",
    expected_sequence=4,
    metadata={"user": "u"},
    tags=("vip",),
)


@pytest.mark.parametrize("name", ["payload", "metadata", "command_id", "stream_id", "other"])
def test_a_command_cannot_be_changed(name):
    with pytest.raises(AttributeError):
        setattr(FULL, name, 1)


def test_what_is_not_given_has_a_default():
    command = Command("a", "b", "c")
    assert command.payload is command.command_id is command.expected_sequence is None
    assert (dict(command.metadata), command.tags) == ({}, ())
    with pytest.raises(TypeError):
        command.metadata["k"] = 1


def test_options_are_named():
    with pytest.raises(TypeError):
        Command("a", "b", "c", None, "c-1")


def test_a_command_addresses_a_stream():
    assert FULL.stream_id == ("bank_account", "acc-1")
    assert type(FULL.stream_id) is tuple


def test_commands_are_equal_when_all_attributes_are():
    same = FULL._replace(payload={"amount": 100})
    assert same == FULL
    assert type(same) is Command
    assert FULL._replace(tags=()) != FULL


def test_the_repr_names_the_attributes():
    assert repr(FULL).startswith("Command(aggregate_type='bank_account', aggregate_id='acc-1', ")
    assert "command_id='c-1', expected_sequence=4" in repr(FULL)


@pytest.mark.parametrize("command", [FULL, Command("a", "b", "c")])
@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda command: pickle.loads(pickle.dumps(command))]
)
def test_copies_are_equal(command, duplicate):
    assert duplicate(command) == command
    assert type(duplicate(command)) is Command
