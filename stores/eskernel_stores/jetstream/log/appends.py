"""Appends as messages: the form in which events are stored.

The payload of a message is a msgpack array of

    format, first sequence, number of events, append id, chunk, chunks, body

where the body is an array of the events, each `[type, body, header, tags, timestamp, command_id]`.
Of an append that is too large for one message, that array's bytes are cut, and each of several
messages has one piece of it as its body. They are consecutive in the stream, and there together or
not at all.

The position of an event is made of the number of its append's first message in the stream, and of
its index in the append.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgpack

from eskernel.errors import NotStorable
from eskernel.values import Row
from eskernel_stores.batching import Prepared
from eskernel_stores.checking import check_event

FORMAT: Final = 1
INDEX_BITS: Final = 20
"""Of a position; the rest is the number of a message."""

MOST_EVENTS: Final = 1 << INDEX_BITS
"""Events in one append."""

_FIELDS: Final = 6  # of an event
_PREFIX_BYTES: Final = 64  # more than what stands before the body ever takes

Body = tuple[tuple[Any, ...], ...]


class Placed(NamedTuple):
    """A message of an append, taken apart.

    Attributes:
        message: its number in the stream.
        first: sequence of the append's first event.
        count: how many events the append has.
        append_id: 16 bytes.
        chunk: its number among the append's messages, from 0 on.
        chunks: how many messages the append has.
        body: the events, or of several messages a piece of their bytes.
    """

    message: int
    first: int
    count: int  # type: ignore[assignment] # of a tuple it is a method, which nobody asks for
    append_id: bytes
    chunk: int
    chunks: int
    body: Body | bytes

    @property
    def last(self) -> int:
        """Sequence of the append's last event."""
        return self.first + self.count - 1

    @property
    def is_end(self) -> bool:
        """Whether no message of the append follows."""
        return self.chunk + 1 == self.chunks

    @property
    def position(self) -> int:
        """Position of the append's first event."""
        return (self.message - self.chunk) << INDEX_BITS


class Appends:
    """Puts the messages of one subject or of a log together to appends, page after page.

    Attributes:
        pieces: of an append of which more messages are to come.
    """

    def __init__(self) -> None:
        self.pieces: list[Placed] = []

    def take(self, placed: Placed) -> Body | None:
        """Return the events of the append that a message completes, or None.

        Pieces without their beginning are passed over: reading began amidst their append.

        Raises:
            ValueError: the append is damaged.
        """
        if placed.chunks == 1 and not self.pieces:
            return placed.body  # type: ignore[return-value]
        if placed.chunk != len(self.pieces):
            if self.pieces or placed.chunk == 0:
                raise ValueError(f"piece {len(self.pieces)} of an append is missing")
            return None
        self.pieces.append(placed)
        if not placed.is_end:
            return None
        pieces, self.pieces = self.pieces, []
        return _joined(pieces)


def to_bytes(row: Row, _append_id: bytes) -> bytes:
    """Return a sealed event as bytes; see `batching.Form`.

    Raises:
        NotStorable: a text has NUL or a lone surrogate, or a number is too large.
    """
    check_event(row)
    _, _, name, body, header, tags, time, by, _, _ = row
    packed: bytes = msgpack.packb((name, body, header, tags, time, by))
    return packed


def to_payloads(commit: Prepared, most_bytes: int, most_messages: int) -> list[bytes]:
    """Return the payloads of the messages of an append; see `batching.Join`.

    Args:
        commit: with its events as `to_bytes` returns them.
        most_bytes: of a payload, by the server's limit.
        most_messages: of a batch, likewise.

    Raises:
        NotStorable: there is no room for so much in one batch.
    """
    count = len(commit.events)
    if count > MOST_EVENTS:
        raise NotStorable("events", f"{count} events are more than {MOST_EVENTS} in one append")
    body = _array_header(count) + b"".join(commit.events)
    room = most_bytes - _PREFIX_BYTES
    chunks = max(-(-len(body) // room), 1)
    if chunks > most_messages:
        raise NotStorable(
            "events",
            f"{len(body)} bytes are more than the {room * most_messages} of one append: "
            f"the server takes {most_messages} messages of {most_bytes} bytes at once",
        )
    pieces = (
        [body] if chunks == 1 else [_piece(body, chunk * room, room) for chunk in range(chunks)]
    )
    facts = (FORMAT, commit.expected + 1, count, commit.append_id)
    return [_prefix((*facts, chunk, chunks)) + piece for chunk, piece in enumerate(pieces)]


def read(payload: bytes, message: int) -> Placed:
    """Return a message's append.

    Raises:
        ValueError: it is damaged, or none.
    """
    try:
        form, first, count, append_id, chunk, chunks, body = msgpack.unpackb(
            payload, use_list=False
        )
    except Exception as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    if form != FORMAT:
        raise ValueError(f"format {form!r} is of a later eskernel")
    numbers = (first, count, chunk, chunks)
    if not (all(type(number) is int for number in numbers) and 0 <= chunk < chunks and count > 0):
        raise ValueError(f"{numbers} are no numbers of an append")
    if chunks == 1:
        _check(body, count)
    elif type(body) is not bytes:
        raise ValueError("a piece of an append is no bytes")
    return Placed(message, first, count, append_id, chunk, chunks, body)


def _joined(pieces: Sequence[Placed]) -> Body:
    """Return the events of an append of several messages; raises ValueError if it is damaged."""
    try:
        data = b"".join(piece.body for piece in pieces)  # type: ignore[misc]
        body: Body = msgpack.unpackb(data, use_list=False)
    except Exception as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    _check(body, pieces[0].count)
    return body


def _check(body: Any, count: int) -> None:
    """Raise ValueError unless these are so many events."""
    if type(body) is not tuple or len(body) != count:
        raise ValueError(f"{count} events were to be here")
    for event in body:
        if type(event) is not tuple or len(event) != _FIELDS or not _is_event(*event):
            raise ValueError(f"{event!r} is no event")


def _is_event(name: Any, body: Any, header: Any, tags: Any, time: Any, by: Any) -> bool:
    return (
        type(name) is str
        and type(body) is bytes
        and type(header) is bytes
        and type(tags) is tuple
        and type(time) is int
        and (by is None or type(by) is str)
        and (not tags or all(type(tag) is str for tag in tags))
    )


def _prefix(fields: tuple[Any, ...]) -> bytes:
    """Return an array of these fields and of another, which is to follow."""
    packed: bytes = msgpack.packb(fields)
    return bytes((packed[0] + 1,)) + packed[1:]


def _piece(body: bytes, start: int, size: int) -> bytes:
    packed: bytes = msgpack.packb(body[start : start + size])
    return packed


def _array_header(length: int) -> bytes:
    header: bytes = msgpack.Packer().pack_array_header(length)
    return header
