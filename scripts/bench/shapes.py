"""Shapes that Command and Event could have had; field by field and default by default the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import make_dataclass
from typing import Any, NamedTuple

import msgspec


class CommandTuple(NamedTuple):
    """A named tuple without a constructor of its own."""

    aggregate_type: str
    aggregate_id: str
    type: str
    payload: Any = None
    command_id: str | None = None
    expected_sequence: int | None = None
    metadata: Mapping[str, Any] | None = None
    tags: tuple[str, ...] = ()


class EventTuple(NamedTuple):
    """A named tuple without a constructor of its own."""

    stream_id: tuple[str, str]
    sequence: int
    type: str
    payload: Any
    metadata: Mapping[str, Any] | None = None
    tags: tuple[str, ...] = ()
    timestamp: int = 0
    position: int | None = None
    command_id: str | None = None


class CommandSlots:
    """A plain class with slots."""

    __slots__ = CommandTuple._fields

    def __init__(
        self,
        aggregate_type: str,
        aggregate_id: str,
        type: str,
        payload: Any = None,
        *,
        command_id: str | None = None,
        expected_sequence: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        tags: tuple[str, ...] = (),
    ) -> None:
        self.aggregate_type = aggregate_type
        self.aggregate_id = aggregate_id
        self.type = type
        self.payload = payload
        self.command_id = command_id
        self.expected_sequence = expected_sequence
        self.metadata = metadata
        self.tags = tags


class EventSlots:
    """A plain class with slots."""

    __slots__ = EventTuple._fields

    def __init__(
        self,
        stream_id: tuple[str, str],
        sequence: int,
        type: str,
        payload: Any,
        metadata: Mapping[str, Any] | None = None,
        tags: tuple[str, ...] = (),
        timestamp: int = 0,
        position: int | None = None,
        command_id: str | None = None,
    ) -> None:
        self.stream_id = stream_id
        self.sequence = sequence
        self.type = type
        self.payload = payload
        self.metadata = metadata
        self.tags = tags
        self.timestamp = timestamp
        self.position = position
        self.command_id = command_id


def _shapes(plain: type, named: Any) -> dict[str, Any]:
    """Return all shapes; those that can be derived have the fields of the named tuple."""
    defaults = named._field_defaults
    fields = [
        (name, Any, defaults[name]) if name in defaults else (name, Any) for name in named._fields
    ]
    return {
        "plain slots class": plain,
        "named tuple": named,
        "frozen slots dataclass": make_dataclass("Frozen", fields, frozen=True, slots=True),
        "msgspec Struct": msgspec.defstruct("Struct", fields, frozen=True),
    }


COMMANDS = _shapes(CommandSlots, CommandTuple)
EVENTS = _shapes(EventSlots, EventTuple)
