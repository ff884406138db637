"""How values that msgpack lacks become msgpack extension types.

| code | value | data |
|---|---|---|
| 1 to 3 | tuple, set, frozenset | none: a *head*, first item of a list that holds the elements |
| 4 | dataclass | class name: a head; the list's second item is a map of field name to value |
| 16 | int beyond 64 bits | two's complement, big-endian |
| 17 | Decimal | its text |
| 18 | UUID | 16 bytes |
| 19 | datetime | fold (`0` or `1`), ISO text without offset, NUL, zone |
| 20 | date | ISO text |
| 21 | time | as datetime |
| 22 | timedelta | days, seconds, microseconds as big-endian int32, uint32, uint32 |
| 32 | Enum member | class name, NUL, member name |
| 33 | Flag member | class name, NUL, value as two's complement |

A zone is empty (naive), `Z` (`timezone.utc`), `+` and the offset in microseconds, then NUL and
the name if it has one (`timezone`), or `@` and a key (`ZoneInfo`). Text is UTF-8. Codes are part
of stored data: never give one a new meaning.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from msgpack import ExtType

TUPLE, SET, FROZENSET, RECORD = 1, 2, 3, 4
INT, DECIMAL, UUID_CODE, DATETIME, DATE, TIME, TIMEDELTA = 16, 17, 18, 19, 20, 21, 22
ENUM, FLAG = 32, 33

Encoder = Callable[[Any], Any]
"""From a value to an ExtType, or to a list that starts with a head."""

Decoder = Callable[[bytes], Any]
"""From an extension's data to the value."""

_TIMEDELTA = struct.Struct(">iII")
_MICROSECOND = timedelta(microseconds=1)


def extension(code: int, data: bytes) -> ExtType:
    """Return `ExtType(code, data)` without its checks, which cost more than packing it."""
    return tuple.__new__(ExtType, (code, data))


def int_to_bytes(value: int) -> bytes:
    """Return the shortest two's complement of any int."""
    return value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


def bytes_to_int(data: bytes) -> int:
    """Return what `int_to_bytes` was given."""
    return int.from_bytes(data, "big", signed=True)


def _write_zone(zone: tzinfo | None) -> str:
    if zone is None:
        return ""
    if zone is UTC:
        return "Z"
    if type(zone) is timezone:
        # The only place that tells a given name from the one every timezone has.
        offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined]
        return "\0".join([f"+{offset // _MICROSECOND}", *name])
    if type(zone) is ZoneInfo and zone.key:
        ZoneInfo(zone.key)  # refuses a zone read from a file, which nobody could find again
        return f"@{zone.key}"
    raise ValueError(f"tzinfo {zone!r} is neither a datetime.timezone nor a ZoneInfo with a key")


def _read_zone(text: str) -> tzinfo | None:
    kind, rest = text[:1], text[1:]
    if kind == "@":
        return ZoneInfo(rest)
    if kind == "+":
        offset, *name = rest.split("\0", 1)
        return timezone(int(offset) * _MICROSECOND, *name)
    if text not in ("", "Z"):
        raise ValueError(f"unknown time zone {text!r}")
    return UTC if text else None


def _write_clock(value: datetime | time) -> bytes:
    local = value.replace(tzinfo=None)
    return f"{value.fold}{local.isoformat()}\0{_write_zone(value.tzinfo)}".encode()


def _clock_reader(kind: type[datetime] | type[time]) -> Decoder:
    def read(data: bytes) -> datetime | time:
        local, _, zone = data.decode().partition("\0")
        value = kind.fromisoformat(local[1:])
        return value.replace(fold=int(local[0]), tzinfo=_read_zone(zone))

    return read


def _write_timedelta(value: timedelta) -> bytes:
    return _TIMEDELTA.pack(value.days, value.seconds, value.microseconds)


_SCALARS: Final[tuple[tuple[type, int, Callable[[Any], bytes], Decoder], ...]] = (
    (int, INT, int_to_bytes, bytes_to_int),
    (Decimal, DECIMAL, lambda value: str(value).encode(), lambda data: Decimal(data.decode())),
    (UUID, UUID_CODE, lambda value: value.bytes, lambda data: UUID(bytes=data)),
    (datetime, DATETIME, _write_clock, _clock_reader(datetime)),
    (
        date,
        DATE,
        lambda value: value.isoformat().encode(),
        lambda data: date.fromisoformat(data.decode()),
    ),
    (time, TIME, _write_clock, _clock_reader(time)),
    (timedelta, TIMEDELTA, _write_timedelta, lambda data: timedelta(*_TIMEDELTA.unpack(data))),
)


def _encoder(code: int, write: Callable[[Any], bytes]) -> Encoder:
    return lambda value: extension(code, write(value))


SCALAR_ENCODERS: Final[dict[type, Encoder]] = {
    kind: _encoder(code, write) for kind, code, write, _ in _SCALARS
}
"""By exact type; int only meets it beyond 64 bits."""

SCALAR_DECODERS: Final[dict[int, Decoder]] = {code: read for _, code, _, read in _SCALARS}
"""By extension code."""
