"""Outcomes of a command: Accepted for the caller, Rejected for the domain to say no."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from eskernel.values.event import Event, Row
from eskernel.values.identifier import StreamId


class _Fields(NamedTuple):
    stream_id: StreamId
    sequence: int
    position: int | None
    stored: tuple[Row, ...]


class Accepted(_Fields):
    """The domain accepted the command and its events are stored.

    It holds rows, which are events as well as plain tuples, and makes the events when asked.

    Attributes:
        stream_id: the aggregate.
        sequence: the aggregate's last sequence after this command.
        position: position of the command's last event; None when it stored nothing.
        events: the events it stored, each with its position; empty when there was nothing to do.
    """

    __slots__ = ()

    @property
    def events(self) -> tuple[Event, ...]:
        """The events this command stored, in order; their payloads are copies."""
        if self.position is None:
            return ()
        first = self.position - len(self.stored) + 1
        return tuple(Event.of_row(row).at(first + index) for index, row in enumerate(self.stored))

    def _public(self) -> tuple[Any, ...]:
        return (*self[:3], self.events)

    def __eq__(self, other: object) -> bool:
        return self._public() == other._public() if isinstance(other, Accepted) else NotImplemented

    def __ne__(self, other: object) -> bool:
        return self._public() != other._public() if isinstance(other, Accepted) else NotImplemented

    def __hash__(self) -> int:
        return hash(self[:3])

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, self._public()  # with open events, which need no codec

    def __repr__(self) -> str:
        stream_id, sequence, position, events = self._public()
        return f"Accepted({stream_id=}, {sequence=}, {position=}, {events=})"


def _rebuild(
    stream_id: StreamId, sequence: int, position: int | None, events: tuple[Event, ...]
) -> Accepted:
    return Accepted(stream_id, sequence, position, events)


@dataclass(frozen=True, slots=True)
class Rejected:
    """What a domain returns to refuse a command; the caller gets `CommandRejected`.

    Attributes:
        reason: a word of the domain, for example `"insufficient_funds"`.
        detail: anything that explains it, or None.
    """

    reason: str
    detail: Any = None
