"""Types and strategies the codec's tests share."""

import enum
import math
import struct
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import UTC, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from eskernel.codec import Codec


class Color(enum.Enum):
    RED = "r"
    BLUE = "b"
    AZURE = "b"  # noqa: PIE796  an alias


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Word(enum.StrEnum):
    YES = "yes"


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Bits(enum.IntFlag):
    ONE = 1
    BIG = 1 << 200


@dataclass(frozen=True, slots=True)
class Point:
    x: Any
    y: Any = 0


@dataclass
class Line:
    """Fields the constructor takes, by keyword only too, and one that it does not."""

    product: Any
    count: Any = field(default=1, kw_only=True)
    total: Any = field(default=0, init=False)


@dataclass
class Counter:
    """A constructor that changes what it is given."""

    count: Any

    def __post_init__(self) -> None:
        self.count = self.count, "counted"


@dataclass
class Empty:
    pass


TYPES = (Color, Level, Word, Access, Bits, Point, Line, Counter, Empty)
CODEC = Codec(TYPES)


def fingerprint(value: Any) -> Any:
    """Return what two values share only if they are the same in type and content, deep down."""
    kind = type(value)
    if kind is float:
        return kind, math.isnan(value) or struct.pack(">d", value)
    if kind is Decimal:
        return kind, value.as_tuple()
    if kind in (list, tuple):
        return kind, [fingerprint(item) for item in value]
    if kind in (set, frozenset):
        return kind, sorted(repr(fingerprint(item)) for item in value)
    if kind is dict:
        return kind, [(fingerprint(key), fingerprint(item)) for key, item in value.items()]
    if is_dataclass(kind):
        return kind, [fingerprint(getattr(value, item.name)) for item in fields(kind)]
    if hasattr(value, "fold"):
        zone = value.tzinfo
        return kind, value.replace(tzinfo=None), value.fold, type(zone), repr(zone)
    return kind, value


offsets = st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59))
zones = st.one_of(
    st.none(),
    st.just(UTC),
    st.builds(timezone, offsets),
    st.builds(timezone, offsets, st.text()),
    st.sampled_from([ZoneInfo("Europe/Paris"), ZoneInfo("UTC"), ZoneInfo("America/New_York")]),
)
folds = st.sampled_from([0, 1])
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**64) - 5, -(2**63) + 5),
    st.integers(2**63 - 5, 2**64 + 5),
    st.integers().map(lambda number: number**9),
    st.floats(),
    st.text(),
    st.binary(),
    st.builds(
        lambda moment, zone, fold: moment.replace(tzinfo=zone, fold=fold),
        st.one_of(st.datetimes(), st.times()),
        zones,
        folds,
    ),
    st.dates(),
    st.timedeltas(),
    st.decimals(),
    st.uuids(),
    st.sampled_from([*Color, *Level, *Word]),
    st.builds(Access, st.integers(0, 3)),
    st.builds(Bits, st.integers(0, 2**70)),
)


def brief(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return a strategy that says less about itself."""
    return st.deferred(lambda: strategy)


def _hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:  # a signalling NaN
        return False
    return True


keys = st.recursive(
    brief(scalars.filter(_hashable)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(tuple),
        st.frozensets(inner, max_size=3),
        st.builds(Point, inner, inner),
    ),
    max_leaves=4,
)
values = st.recursive(
    brief(st.one_of(scalars, keys)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(brief(keys), inner, max_size=4),
        st.sets(brief(keys), max_size=4),
        st.builds(Point, inner, inner),
        st.builds(Line, inner, count=inner),
    ),
    max_leaves=12,
)
