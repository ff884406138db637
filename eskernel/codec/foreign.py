"""Noticing what msgpack packs of its own accord although it would not come back as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from msgpack import ExtType, Timestamp

FOREIGN: Final = frozenset({bytearray, memoryview, ExtType, Timestamp})
"""Types that strict msgpack takes for bytes, or writes as they are."""

# Bytes that begin a msgpack bin or ext become 0x80, all others 0.
_MARKERS: Final = bytes(
    0x80 if 0xC4 <= byte <= 0xC9 or 0xD4 <= byte <= 0xD8 else 0 for byte in range(256)
)

Opener = Callable[[Any], Iterable[Any]]
"""From a container to the values in it."""

OPENERS: Final[dict[type, Opener]] = {
    list: iter,
    tuple: iter,
    set: iter,
    frozenset: iter,
    dict: lambda items: (*items, *items.values()),
}
"""By exact type."""


def is_suspect(data: bytes) -> bool:
    """Return whether packed bytes may hold a bin or an ext, which alone can be foreign.

    Numbers and texts may hold such a byte by chance; a False is certain.
    """
    return not data.translate(_MARKERS).isascii()


def holds_foreign(value: Any, openers: dict[type, Opener]) -> bool:
    """Return whether a value that msgpack packed holds an instance of a foreign type.

    Args:
        value: a tree; packing has shown that it is one.
        openers: of every container in it.
    """
    parts = [value]
    opener_of = openers.get
    for part in parts:  # grows on the way
        opener = opener_of(type(part))
        if opener is not None:
            parts += opener(part)
    return False
