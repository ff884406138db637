"""Event: a fact, immutable once stored.

An event is either *open* (made by hand, holding its payload as given) or *sealed* (holding the
payload's packed bytes). A sealed event decodes its payload anew on each access: nothing a reader
does to it can reach the store, the live state or another reader, and an event nobody looks into
is never decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from eskernel.values.command import NO_METADATA
from eskernel.values.identifier import StreamId

Unpack = Callable[[bytes], Any]
Row: TypeAlias = tuple[Any, ...]
"""A sealed event as a plain tuple of the same ten items, which costs a third of the event.

stream_id, sequence, type, body, header, tags, timestamp, command_id, position, unpack.
"""
_new = tuple.__new__


class _Fields(NamedTuple):
    stream_id: StreamId
    sequence: int
    type: str
    body: Any
    header: Any
    tags: tuple[str, ...]
    timestamp: int
    command_id: str | None
    position: int | None
    unpack: Unpack | None


class Event(_Fields):
    """A fact in the past tense.

    Two events are equal when all their public attributes are. Stores use `body` and `header`: of a
    sealed event the packed payload and metadata (`b""` when there is none), and `unpack`, which
    decodes them.

    Attributes:
        stream_id: `(aggregate_type, aggregate_id)`.
        sequence: number in its stream, from 1 on, without holes.
        type: what happened, for example `"deposited"`.
        payload: what the domain returned.
        metadata: copied from the command.
        tags: copied from the command.
        timestamp: Unix milliseconds.
        position: place in the store's log, from 1 on; None until stored.
        command_id: the command that caused it, if it had an id.
    """

    __slots__ = ()

    def __new__(  # noqa: D102 - see the class
        cls,
        stream_id: StreamId,
        sequence: int,
        type: str,
        payload: Any,
        metadata: Mapping[str, Any] = NO_METADATA,
        tags: tuple[str, ...] = (),
        timestamp: int = 0,
        position: int | None = None,
        command_id: str | None = None,
    ) -> Event:
        return _new(
            cls,
            (
                stream_id,
                sequence,
                type,
                payload,
                metadata,
                tags,
                timestamp,
                command_id,
                position,
                None,
            ),
        )

    @classmethod
    def of_row(cls, row: Row) -> Event:
        """Return the event a row stands for."""
        return _new(cls, row)

    @property
    def payload(self) -> Any:
        """What the domain returned; a new copy at each access of a sealed event."""
        return self.body if self.unpack is None else self.unpack(self.body)

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the command carried; a new copy at each access of a sealed event."""
        if self.unpack is None:
            return self.header  # type: ignore[no-any-return]
        metadata: Mapping[str, Any] = self.unpack(self.header) if self.header else NO_METADATA
        return metadata

    def sealed(self, pack: Callable[[Any, str], bytes], unpack: Unpack) -> Event:
        """Return this event holding bytes instead of objects.

        Args:
            pack: from a value and its name to bytes, as `Codec.pack`.
            unpack: the way back, as `Codec.unpack`.

        Raises:
            NotStorable: payload or metadata hold something `pack` refuses.
        """
        if self.unpack is not None:
            return self
        header = pack(dict(self.header), "metadata") if self.header else b""
        return _new(Event, (*self[:3], pack(self.body, "payload"), header, *self[5:9], unpack))

    def read_with(self, unpack: Unpack) -> Event:
        """Return this event decoding by `unpack`, for example one that knows a domain's types."""
        return self if self.unpack is None else _new(Event, (*self[:9], unpack))

    def at(self, position: int) -> Event:
        """Return this event with its place in the log."""
        return _new(Event, (*self[:8], position, self[9]))

    def _public(self) -> tuple[Any, ...]:
        return (*self[:3], self.payload, dict(self.metadata), *self[5:7], self[8], self[7])

    def __eq__(self, other: object) -> bool:
        return self._public() == other._public() if isinstance(other, Event) else NotImplemented

    def __ne__(self, other: object) -> bool:
        return self._public() != other._public() if isinstance(other, Event) else NotImplemented

    def __hash__(self) -> int:
        return hash((*self[:3], *self[5:9]))

    def __reduce__(self) -> tuple[Any, ...]:
        return Event, self._public()  # copies and pickles are open: they need no codec

    def __repr__(self) -> str:
        names = ("stream_id", "sequence", "type", "payload", "metadata", "tags", "timestamp")
        fields = zip((*names, "position", "command_id"), self._public(), strict=True)
        return f"Event({', '.join(f'{name}={value!r}' for name, value in fields)})"
