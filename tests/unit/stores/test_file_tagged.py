"""Packed values as readable JSON, and back to the same bytes."""

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntFlag
from uuid import UUID
from zoneinfo import ZoneInfo

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eskernel.codec import Codec
from eskernel.testing.conformance.samples import IDENTIFIERS, PAYLOADS
from eskernel.values import Event
from eskernel_stores.file.line import event_line, read_events
from eskernel_stores.file.tagged import Tagger, from_json, to_json


@dataclass(frozen=True)
class Deposited:
    amount: object


class Color(Enum):
    RED = 1


class Access(IntFlag):
    READ = 1
    WRITE = 2


CODEC = Codec([Deposited, Color, Access])
MORE = (
    *(float("nan"), float("-inf"), 5e-324, 1.7976931348623157e308, 2**64 - 1, -(2**63), 10**5000),
    *(datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1), time(1, tzinfo=UTC)),
    *(Color.RED, Access.READ | Access.WRITE, Deposited(Deposited((1, {2}))), {Deposited(1): 2}),
    *({"$": 1}, {"$$": 1, "$a": {"$b": 2}}, {"$bytes": "aGk="}, {"$map": [[1, 2]]}, "$", ["$x"]),
    *({"price": "$5"}, {b"k": 1}, {1: 1, "1": 2}, {None: {}}, {(): ()}, {(1, (2,)): [3]}),
    *({frozenset({1}): {frozenset()}}, [float("nan"), {"deep": [float("inf"), b"x"]}]),
    *("\u2028\u2029\x00\x1f\x7f\ufeff", {"\n": "\r"}, "\ud7ff\ue000\U0010ffff"),
)
VALUES = (*PAYLOADS, *IDENTIFIERS, *MORE)


def there_and_back(data, way):
    tagger = Tagger()
    return tagger.repack(from_json(to_json(getattr(tagger, way)(data))))


def in_a_line(data):
    """Return what a line makes of a payload's bytes."""
    row = (("a", "1"), 1, "t", data, b"", (), 0, None, None, CODEC.unpack)
    line = event_line(1, 1, None, [row], Tagger())
    assert line.count(b"\n") == 1
    json.loads(line, parse_constant=pytest.fail)  # as any other reader of JSON would
    return read_events(line, Tagger(), CODEC.unpack)[0].body


@pytest.mark.parametrize("value", VALUES, ids=lambda value: ascii(type(value).__name__))
def test_known_difficult_values_come_back_as_the_same_bytes(value):
    data = CODEC.pack(value)
    assert in_a_line(data) == data
    assert there_and_back(data, "exact") == data


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**200), 2**200)
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.text("$abytesmap", max_size=8)
    | st.binary(max_size=20)
    | st.decimals().filter(lambda number: not number.is_snan())  # no set takes those
    | st.datetimes(timezones=st.just(UTC) | st.none() | st.just(ZoneInfo("Europe/Berlin")))
    | st.datetimes(timezones=st.just(timezone(timedelta(hours=-3), "odd")))
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.uuids()
    | st.sampled_from([*Color, *Access, Access(0), Access(3)])
)
keys = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=5,
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.sets(keys, max_size=3)
        | st.dictionaries(st.text("$ab", max_size=3) | keys, inner, max_size=4)
        | st.builds(Deposited, inner)
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(values)
def test_every_storable_value_comes_back_as_the_same_bytes(value):
    data = CODEC.pack(value)
    assert in_a_line(data) == data
    assert there_and_back(data, "exact") == data


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_come_back_even_if_no_codec_wrote_them(data):
    assert in_a_line(data) == data


@settings(max_examples=200, deadline=None)
@given(st.integers(-128, 127), st.binary(max_size=20))
def test_any_extension_comes_back_even_if_no_codec_wrote_it(code, data):
    packed = msgpack.packb([msgpack.ExtType(code % 128, data), 1])
    packed = packed.replace(bytes([code % 128]), bytes([code % 256]), 1)
    assert in_a_line(packed) == packed


@pytest.mark.parametrize("depth", [10, 49, 51, 120, 900])
def test_deep_values_come_back(depth):
    for open_with in (lambda inner: [inner], lambda inner: {"k": inner}, lambda inner: (inner,)):
        value = 1
        for _ in range(depth):
            value = open_with(value)
        data = CODEC.pack(value)
        assert in_a_line(data) == data


def test_wide_values_stay_readable():
    value = [{"n": number} for number in range(1000)]
    assert Tagger().plain(CODEC.pack(value)) == value
    mixed = [Decimal(number) for number in range(1000)]
    assert Tagger().plain(CODEC.pack(mixed)) == [{"$decimal": str(n)} for n in range(1000)]


READABLE = [
    ({"amount": 100}, {"amount": 100}),
    (b"hi", {"$bytes": "aGk="}),
    ((1, "a"), {"$tuple": [1, "a"]}),
    ({1}, {"$set": [1]}),
    (frozenset(), {"$frozenset": []}),
    ({1: "one"}, {"$map": [[1, "one"]]}),
    ({"$set": 1}, {"$$set": 1}),
    (float("nan"), {"$float": "nan"}),
    (float("-inf"), {"$float": "-inf"}),
    (2**64, {"$int": "18446744073709551616"}),
    (Decimal("1.50"), {"$decimal": "1.50"}),
    (UUID(int=1), {"$uuid": "00000000-0000-0000-0000-000000000001"}),
    (date(2024, 2, 29), {"$date": "2024-02-29"}),
    (datetime(2024, 2, 29, 12), {"$datetime": "2024-02-29T12:00:00"}),
    (datetime(2024, 2, 29, 12, tzinfo=UTC), {"$datetime": "2024-02-29T12:00:00Z"}),
    (
        datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
        {"$datetime": ["2024-10-27T02:30:00", "@Europe/Berlin", 1]},
    ),
    (time(12), {"$time": "12:00:00"}),
    (timedelta(days=-1, microseconds=1), {"$timedelta": [-1, 0, 1]}),
    (Deposited(5), {"$dataclass": ["Deposited", {"amount": 5}]}),
    (Color.RED, {"$enum": ["Color", "RED"]}),
    (Access.READ | Access.WRITE, {"$flag": ["Access", 3]}),
    ([b"x", {"a": (None,)}], [{"$bytes": "eA=="}, {"a": {"$tuple": [None]}}]),
]


@pytest.mark.parametrize(("value", "text"), READABLE, ids=lambda pair: ascii(pair)[:40])
def test_values_are_written_so_that_a_person_can_read_them(value, text):
    assert json.loads(to_json(Tagger().exact(CODEC.pack(value)))) == text


def test_a_text_that_is_no_utf8_makes_no_line():
    row = (("a", "\ud800"), 1, "t", CODEC.pack(None), b"", (), 0, None, None, CODEC.unpack)
    with pytest.raises(TypeError, match="surrogates"):
        event_line(1, 1, None, [row], Tagger())


def test_no_changed_bit_of_a_line_goes_unnoticed():
    event = Event(("a", "1"), 1, "t", {"n": 1, "t": (1, b"x")}, {"by": "Ada"}, ("x",), 5, None, "c")
    line = event_line(7, 8, 2**127, [event.sealed(CODEC.pack, CODEC.unpack)], Tagger())
    assert read_events(line, Tagger(), CODEC.unpack) == [event.at(8)]
    for bit in range(8 * len(line)):
        changed = bytearray(line)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError, match="checksum"):
            read_events(bytes(changed), Tagger(), CODEC.unpack)
