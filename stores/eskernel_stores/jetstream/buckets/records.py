"""Record: what a key of a bucket holds; large parts of it are kept in chunks of their own."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgpack

from eskernel.errors import CorruptStore

FORMAT: Final = 1
"""Number of the form that records have; one with another number is of a later eskernel."""

EVERYTHING: Final = "*"
"""Stands for the ids of all chunks of a key, where nobody knows them any more."""


class Chunks(NamedTuple):
    """Where bytes are kept that do not fit into a record.

    Attributes:
        id: drawn by chance; no two are alike, so chunks are never replaced.
        messages: how many there are.
        size: bytes in all of them.
    """

    id: str
    messages: int
    size: int


class Part(NamedTuple):
    """One of the values of a record.

    Attributes:
        number: which one; a snapshot's sequence, or 0.
        value: the bytes, or where they are.
    """

    number: int
    value: bytes | Chunks


class Record(NamedTuple):
    """The values of a key, in one message that is replaced as a whole.

    Attributes:
        parts: highest number first.
        dropped: ids of chunks which the record before referred to and this one does not. They may
            be there still: whoever wrote this was to purge them, and may have died before.
            Empty where another message knows.
    """

    parts: tuple[Part, ...] = ()
    dropped: tuple[str, ...] = ()

    def chunk_ids(self) -> set[str]:
        """Return the ids of all chunks that are referred to."""
        return {part.value.id for part in self.parts if isinstance(part.value, Chunks)}


def pack(value: Any) -> bytes:
    """Return the bytes of a value of numbers, text, bytes, None and lists or tuples of them."""
    data: bytes = msgpack.packb(value)
    return data


def unpack(data: bytes, what: str) -> Any:
    """Return the value that `pack` was given, with lists for tuples.

    Args:
        data: the bytes.
        what: what they are, for the message.

    Raises:
        CorruptStore: they are damaged.
    """
    try:
        return msgpack.unpackb(data)
    except Exception as error:
        raise CorruptStore(f"{what} cannot be read: {type(error).__name__}: {error}") from error


def packed(record: Record) -> bytes:
    """Return a record as bytes."""
    return pack((FORMAT, record.dropped, record.parts))


def unpacked(data: bytes, key: str) -> Record:
    """Return a record.

    No bytes, as other programs leave where they delete, are an empty one that drops all chunks.

    Args:
        data: of `packed`.
        key: where it was found, for the message.

    Raises:
        CorruptStore: it is damaged, or of a later eskernel.
    """
    if not data:
        return Record(dropped=(EVERYTHING,))
    fields = unpack(data, key)
    check_format(fields, key)
    try:
        _, dropped, parts = fields
        return Record(tuple(_part(*part) for part in parts), tuple(dropped))
    except (TypeError, ValueError) as error:
        raise CorruptStore(f"{key} is no record: {error}") from error


def check_format(fields: Any, key: str) -> None:
    """Raise CorruptStore unless an unpacked value is a list that begins with our format."""
    if not isinstance(fields, list) or fields[:1] != [FORMAT]:
        raise CorruptStore(
            f"{key} is no record of format {FORMAT}: damaged, or of a later eskernel"
        )


def _part(number: int, value: bytes | list[Any]) -> Part:
    return Part(number, value if isinstance(value, bytes) else Chunks(*value))
