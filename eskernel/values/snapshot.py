"""Snapshot: an aggregate's state at a sequence, so that replay starts there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from eskernel.values.event import Unpack
from eskernel.values.identifier import StreamId

_new = tuple.__new__


class Receipt(NamedTuple):
    """Proof that a command was accepted.

    Attributes:
        command_id: the command.
        first: sequence of its first event.
        last: sequence of its last event.
    """

    command_id: str
    first: int
    last: int


class _Fields(NamedTuple):
    stream_id: StreamId
    sequence: int
    body: Any
    version: str
    receipts: tuple[Receipt, ...]
    timestamp: int
    unpack: Unpack | None


class Snapshot(_Fields):
    """State after the event at `sequence`: an optimisation, never the truth.

    Like an event it is *open* or *sealed*: a sealed one holds the packed state in `body` and
    decodes it anew at each access of `state`.

    Attributes:
        stream_id: `(aggregate_type, aggregate_id)`.
        sequence: the last event folded into the state.
        state: what the domain's functions made of it.
        version: the domain's version that made it; another version must ignore it.
        receipts: the newest accepted commands, oldest first.
        timestamp: Unix milliseconds.
    """

    __slots__ = ()

    def __new__(  # noqa: D102 - see the class
        cls,
        stream_id: StreamId,
        sequence: int,
        state: Any,
        version: str = "",
        receipts: tuple[Receipt, ...] = (),
        timestamp: int = 0,
    ) -> Snapshot:
        return _new(cls, (stream_id, sequence, state, version, receipts, timestamp, None))

    @property
    def state(self) -> Any:
        """The aggregate's state; a new copy at each access of a sealed snapshot."""
        return self.body if self.unpack is None else self.unpack(self.body)

    def sealed(self, pack: Callable[[Any, str], bytes], unpack: Unpack) -> Snapshot:
        """Return this snapshot holding bytes instead of objects.

        Raises:
            NotStorable: the state holds something `pack` refuses.
        """
        if self.unpack is not None:
            return self
        return _new(Snapshot, (*self[:2], pack(self.body, "state"), *self[3:6], unpack))

    def read_with(self, unpack: Unpack) -> Snapshot:
        """Return this snapshot decoding by `unpack`."""
        return self if self.unpack is None else _new(Snapshot, (*self[:6], unpack))

    def _public(self) -> tuple[Any, ...]:
        return (*self[:2], self.state, *self[3:6])

    def __eq__(self, other: object) -> bool:
        return self._public() == other._public() if isinstance(other, Snapshot) else NotImplemented

    def __ne__(self, other: object) -> bool:
        return self._public() != other._public() if isinstance(other, Snapshot) else NotImplemented

    def __hash__(self) -> int:
        return hash((*self[:2], *self[3:6]))

    def __reduce__(self) -> tuple[Any, ...]:
        return Snapshot, self._public()  # copies and pickles are open: they need no codec

    def __repr__(self) -> str:
        names = ("stream_id", "sequence", "state", "version", "receipts", "timestamp")
        fields = zip(names, self._public(), strict=True)
        return f"Snapshot({', '.join(f'{name}={value!r}' for name, value in fields)})"
