"""Noticing what msgpack packs of its own accord although it would not come back as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from msgpack import ExtType, Timestamp

FOREIGN: Final = frozenset({bytearray, memoryview, ExtType, Timestamp})
"""Types that strict msgpack takes for bytes, or writes as they are."""

MARKERS: Final = bytes(
    0x80 if 0xC4 <= byte <= 0xC9 or 0xD4 <= byte <= 0xD8 else 0 for byte in range(256)
)
"""Table for `bytes.translate`: bytes that begin a msgpack bin or ext to 0x80, all others to 0.

If the result is ASCII, no foreign type was packed. If not, there may be one, or plain bytes, or a
number or a text that has such a byte in it.
"""

FLAT: Final = bytes(
    byte
    for byte, mark in enumerate(MARKERS)
    if not (mark or 0x80 <= byte <= 0x9F or 0xDC <= byte <= 0xDF)
)
"""Bytes that begin no container, bin or ext: all but one of the bytes of a dict without any."""

Opener = Callable[[Any], Iterable[Any]]
"""From a container to the values in it."""


def _found(_: Any) -> Iterable[Any]:
    raise NotImplementedError  # pragma: no cover


OPENERS: Final[dict[type, Opener]] = {
    list: iter,
    tuple: iter,
    set: iter,
    frozenset: iter,
    dict: lambda items: (*items, *items.values()),
    **dict.fromkeys(FOREIGN, _found),
}
"""By exact type; foreign types have one that is never called."""


def holds_foreign(value: Any, openers: dict[type, Opener]) -> bool:
    """Return whether a value that msgpack packed holds an instance of a foreign type.

    Args:
        value: a tree; packing has shown that it is one.
        openers: of every container in it, and `OPENERS`.
    """
    parts = [value]
    opener_of = openers.get
    for part in parts:  # grows on the way
        opener = opener_of(type(part))
        if opener is not None:
            if opener is _found:
                return True
            parts += opener(part)
    return False
