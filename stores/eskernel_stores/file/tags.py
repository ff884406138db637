"""Tags: how JSON says what it lacks, as an object with one key that begins with `$`.

| tag | stands for |
|---|---|
| `{"$bytes": "aGk="}` | bytes, in base64 |
| `{"$float": "nan"}` | NaN, `inf`, `-inf` |
| `{"$int": "36893488147419103232"}` | an int beyond 64 bits |
| `{"$tuple": […]}`, `{"$set": […]}`, `{"$frozenset": […]}` | themselves |
| `{"$map": [[key, value], …]}` | a dict with keys that are not all strings |
| `{"$dataclass": ["Deposited", {"amount": 5}]}` | a declared dataclass |
| `{"$enum": ["Color", "RED"]}`, `{"$flag": ["Access", 3]}` | declared Enum and Flag members |
| `{"$decimal": "1.50"}`, `{"$uuid": "…"}`, `{"$date": "2024-02-29"}` | themselves |
| `{"$datetime": "2024-02-29T12:00:00Z"}`, `{"$time": "12:00:00"}` | UTC ends in Z, naive not |
| `{"$datetime": ["2024-02-29T12:00:00", "@Europe/Berlin", 0]}` | another zone, and the fold |
| `{"$timedelta": [-1, 0, 1]}` | days, seconds, microseconds |
| `{"$ext": [16, "aGk="]}` | any other msgpack extension |
| `{"$msgpack": "aGk="}` | a whole value that JSON cannot say exactly |

A key of the user's own that begins with `$` gets another `$` in front, so it never is a tag.
"""

from __future__ import annotations

import math
import struct
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

from msgpack import ExtType

from eskernel.codec.extensions import (
    DATE,
    DATETIME,
    DECIMAL,
    ENUM,
    FLAG,
    FROZENSET,
    INT,
    RECORD,
    SET,
    TIME,
    TIMEDELTA,
    TUPLE,
    UUID_CODE,
    bytes_to_int,
    extension,
    int_to_bytes,
)

HEADS: Final = {TUPLE: "$tuple", SET: "$set", FROZENSET: "$frozenset"}
"""Tags of the lists whose first item says what they are."""

_TIMEDELTA = struct.Struct(">iII")


class Packed(bytes):
    """A value's msgpack bytes as they are, in place of the value."""


def text_of(data: bytes) -> str:
    """Return base64 of bytes."""
    return b64encode(data).decode()


def _bytes_of(text: str) -> bytes:
    return b64decode(text, validate=True)


def _write_clock(data: bytes) -> Any:
    local, _, zone = data.decode().partition("\0")
    fold, local = int(local[0]), local[1:]
    if fold == 0 and zone in ("", "Z"):
        return local + zone
    return [local, zone, fold]


def _read_clock(value: Any) -> bytes:
    if isinstance(value, str):
        value = [value[:-1], "Z", 0] if value.endswith("Z") else [value, "", 0]
    local, zone, fold = value
    return f"{fold}{local}\0{zone}".encode()


def _write_flag(data: bytes) -> list[Any]:
    name, _, value = data.partition(b"\0")
    return [name.decode(), bytes_to_int(value)]


_EXTENSIONS: Final[tuple[tuple[int, str, Callable[[bytes], Any], Callable[[Any], bytes]], ...]] = (
    (INT, "$int", lambda data: str(bytes_to_int(data)), lambda text: int_to_bytes(int(text))),
    (DECIMAL, "$decimal", bytes.decode, str.encode),
    (UUID_CODE, "$uuid", lambda data: str(UUID(bytes=data)), lambda text: UUID(text).bytes),
    (DATETIME, "$datetime", _write_clock, _read_clock),
    (DATE, "$date", bytes.decode, str.encode),
    (TIME, "$time", _write_clock, _read_clock),
    (
        TIMEDELTA,
        "$timedelta",
        lambda data: list(_TIMEDELTA.unpack(data)),
        lambda parts: _TIMEDELTA.pack(*parts),
    ),
    (
        ENUM,
        "$enum",
        lambda data: data.decode().split("\0", 1),
        lambda names: "\0".join(names).encode(),
    ),
    (
        FLAG,
        "$flag",
        _write_flag,
        lambda parts: b"%b\0%b" % (parts[0].encode(), int_to_bytes(parts[1])),
    ),
)
"""Extension code, tag, way there, way back."""

_WRITERS = {code: (tag, write, read) for code, tag, write, read in _EXTENSIONS}


def tagged_extension(code: int, data: bytes) -> dict[str, Any]:
    """Return the readable tag of an extension, or `$ext` where that would not be exact."""
    if code in _WRITERS:
        tag, write, read = _WRITERS[code]
        try:
            value = write(data)
            if read(value) == data:
                return {tag: value}
        except (ValueError, IndexError, struct.error):
            pass  # not what the codec writes, or a number of too many digits: kept as it is
    return {"$ext": [code, text_of(data)]}


def tagged_float(value: float) -> dict[str, str]:
    """Return the tag of a float that is not finite."""
    return {"$float": "nan" if math.isnan(value) else repr(value)}


def _head_reader(code: int) -> Callable[[Any], Any]:
    head = extension(code, b"")
    return lambda items: [head, *items]


def _extension_reader(code: int, read: Callable[[Any], bytes]) -> Callable[[Any], Any]:
    return lambda value: extension(code, read(value))


def _as_key(value: Any) -> Any:
    """Return a list as the tuple that msgpack packs alike, which can be a key."""
    return tuple(map(_as_key, value)) if type(value) is list else value


_READERS: Final[dict[str, Callable[[Any], Any]]] = {
    "$bytes": _bytes_of,
    "$float": float,
    "$map": lambda pairs: {_as_key(key): value for key, value in pairs},
    "$dataclass": lambda parts: [extension(RECORD, parts[0].encode()), parts[1]],
    "$ext": lambda parts: ExtType(parts[0], _bytes_of(parts[1])),
    "$msgpack": lambda text: Packed(_bytes_of(text)),
    **{tag: _head_reader(code) for code, tag in HEADS.items()},
    **{tag: _extension_reader(code, read) for code, tag, _, read in _EXTENSIONS},
}


def untagged(found: dict[str, Any]) -> Any:
    """Return what a JSON object stands for, in a form that msgpack packs; for `object_hook`.

    Raises:
        KeyError: a tag that no version of this module has written.
    """
    for key in found:
        if key[:1] == "$":
            break
    else:
        return found
    if len(found) == 1 and key[:2] != "$$":
        return _READERS[key](found[key])
    return {key[1:] if key[:1] == "$" else key: value for key, value in found.items()}
