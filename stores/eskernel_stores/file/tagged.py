"""Tagged: packed values as JSON that a person can read, and back to the very same bytes."""

from __future__ import annotations

import math
from json import JSONDecoder, JSONEncoder
from typing import Any, Final, NoReturn

from msgpack import Packer, unpackb

from eskernel.codec.extensions import RECORD
from eskernel.codec.foreign import FLAT
from eskernel_stores.file.tags import (
    HEADS,
    Packed,
    tagged_extension,
    tagged_float,
    text_of,
    untagged,
)

_MAX_DEPTH: Final = 50
"""Deeper values are not written readably: the JSON module recurses, and may fail to read them."""


class _Head:
    """First item of a list that says what the list is; not a tuple, which JSON takes for a list."""

    __slots__ = ("code", "data")

    def __init__(self, code: int, data: bytes) -> None:
        self.code = code
        self.data = data


class _NotPlain(Exception):
    """The value holds something that JSON lacks."""


def _default(value: Any) -> Any:
    if type(value) is bytes:
        return {"$bytes": text_of(value)}
    if type(value) is _Head:
        return {"$ext": [value.code, text_of(value.data)]}
    raise TypeError(f"a {type(value).__name__} has no place in JSON")


to_json = JSONEncoder(
    ensure_ascii=False,
    check_circular=False,
    allow_nan=False,
    separators=(",", ":"),
    default=_default,
).encode
"""From what `Tagger` returns to JSON text; ValueError or TypeError if `plain` was too hopeful."""

_plain_json = JSONDecoder()
_tagged_json = JSONDecoder(object_hook=untagged)


def from_json(text: str) -> Any:
    """Return the value of JSON text in a form that `repack` takes.

    Raises:
        ValueError, LookupError, TypeError, RecursionError: the text is none of `to_json`'s.
    """
    decoder = _tagged_json if '"$' in text else _plain_json
    return decoder.raw_decode(text)[0]


class Tagger:
    """The two ways; for one thread at a time, as the packer in it is."""

    __slots__ = ("_pack",)

    def __init__(self) -> None:
        self._pack = Packer(buf_size=4096).pack

    def repack(self, value: Any) -> bytes:
        """Return the packed bytes that a value of `from_json` stands for."""
        if value.__class__ is Packed:
            return bytes(value)
        return self._pack(value)  # type: ignore[no-any-return]

    def plain(self, data: bytes) -> Any:
        """Return a value for `to_json`, fast if it needs no tags.

        NaN and keys of other types than str slip through; `to_json` refuses them.
        """
        if b"$" not in data and (
            len(data) <= _MAX_DEPTH or len(data.translate(None, FLAT)) <= _MAX_DEPTH
        ):
            try:
                value = unpackb(data, ext_hook=_refuse)
            except (_NotPlain, ValueError):  # exact takes care of them
                return self.exact(data)
            if self._pack(value) == data:
                return value
        return self.exact(data)

    def exact(self, data: bytes) -> Any:
        """Return a value for `to_json` that is proven to come back as the same bytes."""
        try:
            value = _tagged(data)
            if not _is_deep(value) and self.repack(from_json(to_json(value))) == data:
                return value
        except (ValueError, TypeError, LookupError, RecursionError):
            pass  # nothing the codec writes, or too deep: kept as bytes, which is always exact
        return {"$msgpack": text_of(data)}


def _refuse(_code: int, _data: bytes) -> NoReturn:
    raise _NotPlain


def _tagged(data: bytes) -> Any:
    value = unpackb(
        data,
        ext_hook=_tag_extension,
        list_hook=_tag_list,
        object_pairs_hook=_tag_map,
        strict_map_key=False,
    )
    try:
        to_json(value)
    except ValueError:
        return _with_tagged_floats(value)
    return value


def _tag_extension(code: int, data: bytes) -> Any:
    return _Head(code, data) if code in HEADS or code == RECORD else tagged_extension(code, data)


def _tag_list(items: list[Any]) -> Any:
    if not items or type(head := items[0]) is not _Head:
        return items
    if head.code in HEADS and not head.data:
        return {HEADS[head.code]: items[1:]}
    if head.code == RECORD and len(items) == 2:
        return {"$dataclass": [head.data.decode(), items[1]]}
    return items


def _tag_map(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    escaped = {}
    for key, value in pairs:
        if type(key) is not str:
            return {"$map": [list(pair) for pair in pairs]}
        escaped[f"${key}" if key[:1] == "$" else key] = value
    return escaped


def _with_tagged_floats(value: Any) -> Any:
    if type(value) is float:
        return value if math.isfinite(value) else tagged_float(value)
    if type(value) is list:
        return [_with_tagged_floats(item) for item in value]
    if type(value) is dict:
        return {key: _with_tagged_floats(item) for key, item in value.items()}
    return value


def _is_deep(value: Any) -> bool:
    """Return whether containers lie in one another deeper than tags of `_MAX_DEPTH` would."""
    level = [value]
    for _ in range(3 * _MAX_DEPTH):
        inner: list[Any] = []
        for item in level:
            if type(item) is dict:
                inner += item.values()
            elif type(item) is list:
                inner += item
        if not inner:
            return False
        level = inner
    return True
