"""Values and names that stores have got wrong."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

PAYLOADS: Final[tuple[Any, ...]] = (
    None,
    True,
    False,
    0,
    2**63,
    -(2**64),
    2**200,
    0.1,
    -0.0,
    float("inf"),
    "",
    "na\u00efve \U0001f600 \x00 \u202e",
    b"",
    bytes(range(256)),
    [],
    (),
    {},
    set(),
    (1, (2, [3, ()])),
    {1, "one", b"one", (1,)},
    frozenset({1, 2}),
    Decimal("1.500"),
    Decimal("1e-40"),
    datetime(2024, 2, 29, 12, 30, 15, 123456),
    datetime(2024, 2, 29, 12, 30, 15, 123456, UTC),
    datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=-5, minutes=-30), "odd")),
    date(9999, 12, 31),
    time(23, 59, 59, 999999),
    timedelta(days=-1, microseconds=1),
    UUID(int=2**128 - 1),
    {"b": 1, "a": 2},
    {1: "one", None: "none", (1, 2): "pair", b"k": {"deep": [{"er": {1, 2}}]}},
    {"$set": 1, "a.b": 2, "_id": 3, "": 4},
)
"""Payloads that must come back exactly as they were."""

IDENTIFIERS: Final[tuple[str, ...]] = (
    *("A", "a", "\u00e9", "e\u0301", "\u00df", "ss", "\u0130", "i", "I", "\u0131"),
    *("a ", " a", "a.", ".", "..", "../../etc/passwd", "/", "\\", "C:\\", "CON", "~", "a/b"),
    *("%", "_", "*", ">", "?", "[a]", "a*", "'", '"', "`", "'; DROP TABLE events; --", "$where"),
    *("\n", "\r\n", "\t", "\x01", "\x7f", "\u200b", "\ufeff", "\u202e", "\ud7ff", "\U0010ffff"),
    *("0", "00", "1", "1.0", "1e0", "null", "None", "True", "{}", "a:b", "a-b", "a b", "a,b"),
    *("\U0001f600", "\U0001f600" * 255, "x" * 255, "x" * 254, "\u05d0\u0628\u4e2d", "%41", "&amp;"),
)
"""Names that differ, however alike, and that no store may take for anything but names."""

ALIKE: Final[tuple[tuple[str, str], ...]] = (
    *(("a", "b-c"), ("a-b", "c"), ("a", "b/c"), ("a/b", "c"), ("a", "b:c"), ("a:b", "c")),
    *(("a", "bc"), ("ab", "c"), ("a", "b.c"), ("a.b", "c"), ("a", "b_c"), ("a_b", "c")),
    *(("a", "b\x1fc"), ("a\x1fb", "c"), ("a", "b\nc"), ("a\nb", "c"), ("b", "a"), ("a", "b")),
)
"""Streams whose names are the same once type and id are run together."""
