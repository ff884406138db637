"""Tuples and sets: lists whose first item, a head, says what they are.

Nothing is packed into bytes inside bytes, so decoding needs no recursion and nesting costs no
stack, however deep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from msgpack import ExtType, Packer

from eskernel.codec.extensions import FROZENSET, SET, TUPLE, Decoder, Encoder


class Head:
    """First item of a list that is something else.

    Args:
        build: from the whole list, head included, to the value it stands for.
    """

    __slots__ = ("build",)
    __hash__ = None  # type: ignore[assignment]  # damaged bytes cannot make it a key

    def __init__(self, build: Callable[[list[Any]], Any]) -> None:
        self.build = build


def build_list(items: list[Any]) -> Any:
    """Return a decoded list, or what its head makes of it."""
    if items and type(head := items[0]) is Head:
        return head.build(items)
    return items


def new_packer(encoders: dict[type, Encoder]) -> Packer:
    """Return a packer that encodes what msgpack lacks by exact type; KeyError if it cannot."""
    return Packer(
        default=lambda value: encoders[type(value)](value), strict_types=True, buf_size=4096
    )


def container_encoders(scalars: dict[type, Encoder]) -> dict[type, Encoder]:
    """Return the given encoders and those of tuple, set and frozenset.

    Args:
        scalars: encoders of everything else, by exact type.
    """
    tuple_head, kinds = ExtType(TUPLE, b""), ((set, SET), (frozenset, FROZENSET))
    encoders: dict[type, Encoder] = {**scalars, tuple: lambda items: [tuple_head, *items]}
    # Elements are ordered by bytes in which a nested set is one extension, not a list: packing
    # a nested set twice, to order it and to store it, would double the work at each level.
    ordering = dict(encoders)
    ordering.update({kind: _set_as_extension(code, ordering) for kind, code in kinds})
    encoders.update({kind: _set_as_list(code, ordering) for kind, code in kinds})
    return encoders


def _set_as_extension(code: int, ordering: dict[type, Encoder]) -> Encoder:
    def encode(items: Iterable[Any]) -> ExtType:
        return ExtType(code, b"".join(sorted(map(new_packer(ordering).pack, items))))

    return encode


def _set_as_list(code: int, ordering: dict[type, Encoder]) -> Encoder:
    head = ExtType(code, b"")

    def encode(items: Iterable[Any]) -> list[Any]:
        return [head, *sorted(items, key=new_packer(ordering).pack)]

    return encode


def _head_decoder(kind: type) -> Decoder:
    head = Head(lambda items: kind(items[1:]))

    def decode(data: bytes) -> Head:
        if data:
            raise ValueError(f"head of a {kind.__name__} with data")
        return head

    return decode


CONTAINER_DECODERS: dict[int, Decoder] = {
    TUPLE: _head_decoder(tuple),
    SET: _head_decoder(set),
    FROZENSET: _head_decoder(frozenset),
}
"""By extension code."""
