"""Whatever is packed comes back with the same types and values."""

import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal, localcontext
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from codec_samples import CODEC, Access, Bits, Color, Empty, Level, Line, Point, fingerprint, values
from hypothesis import given, settings
from hypothesis import strategies as st

from eskernel.codec import Codec
from eskernel.errors import NotStorable

PARIS = ZoneInfo("Europe/Paris")


def back(value):
    return CODEC.unpack(CODEC.pack(value))


@given(values)
@settings(deadline=None, max_examples=500)
def test_any_value_comes_back_exactly(value):
    assert fingerprint(back(value)) == fingerprint(value)


@given(values)
@settings(deadline=None)
def test_packing_again_what_came_back_gives_the_same_bytes(value):
    data = CODEC.pack(value)
    assert CODEC.pack(CODEC.unpack(data)) == data


@pytest.mark.parametrize(
    "value",
    [
        (True, 1, 1.0, False, 0, 0.0, -0.0),
        [math.inf, -math.inf, math.nan],
        [2**63, -(2**63), 2**64 - 1, 2**64, -(2**63) - 1, 10**5000],
        {True: "bool", None: "none", 2: "int", (3, b""): "tuple", Decimal("1.0"): "decimal"},
        {"z": 1, "a": 2, "m": 3},
        {Point(1, (2,)): Color.RED, Level.LOW: Access.READ, frozenset({1}): b""},
        [Decimal(text) for text in ("1.10", "-0", "NaN", "-NaN12", "sNaN", "Infinity", "1E+99999")],
        [Access(0), Access.READ | Access.WRITE, Bits(1 << 90), Bits.BIG, Color.AZURE],
        [date.min, date.max, datetime.min, datetime.max, time.min, time.max],
        [timedelta.min, timedelta.max, timedelta(microseconds=-1)],
        [timezone(timedelta(hours=1)).utcoffset(None), timezone.min.utcoffset(None)],
        [time(1, tzinfo=PARIS, fold=1), time(2, tzinfo=timezone.max), time(3, fold=1)],
        [UUID(int=0), UUID(int=2**128 - 1)],
        [[], (), {}, set(), frozenset(), Empty(), "", b""],
        ["x" * 70000, b"x" * 70000, "é" * 300, "\0", "😀"],
        list(range(70000)),
        {number: str(number) for number in range(70000)},
        [{1, 2}, {(1, frozenset({frozenset(), frozenset({2})}))}],
    ],
    ids=lambda value: type(value).__name__,
)
def test_corner_cases_come_back_exactly(value):
    assert fingerprint(back(value)) == fingerprint(value)


def test_utc_comes_back_as_the_one_utc():
    assert back(datetime(2024, 1, 1, tzinfo=UTC)).tzinfo is UTC


@pytest.mark.parametrize("name", ["", "UTC", "UTC+01:00", "a\0b", "+"])
def test_a_timezone_keeps_its_given_name(name):
    zone = timezone(timedelta(microseconds=-1), name)
    assert repr(back(datetime(2024, 1, 1, tzinfo=zone)).tzinfo) == repr(zone)


@pytest.mark.parametrize("fold", [0, 1])
def test_the_repeated_hour_keeps_its_fold(fold):
    moment = datetime(2024, 10, 27, 2, 30, tzinfo=PARIS, fold=fold)
    assert back(moment).utcoffset() == moment.utcoffset() == timedelta(hours=2 - fold)


@given(values | st.dictionaries(st.text(), st.integers() | st.text() | st.binary() | values))
@settings(deadline=None, max_examples=300)
def test_freezing_gives_what_packing_and_unpacking_would(value):
    CODEC.pack(1)  # leaves an idle packer
    data, copy = CODEC.freeze(value)
    assert data == CODEC.pack(value)
    assert fingerprint(copy) == fingerprint(value)


@pytest.mark.parametrize(
    "value", [{"a": 1}, {"a": [1]}, {"a": {1}}, {"a": {}}, {n: [] for n in range(20)}, [1]]
)
def test_what_is_frozen_shares_no_container_with_what_was_given(value):
    CODEC.pack(1)
    _, copy = CODEC.freeze(value)
    assert copy == value
    assert copy is not value
    items = copy.items() if type(copy) is dict else ()
    assert not any(item is value[key] for key, item in items if type(item) is not int)


@pytest.mark.parametrize("bad", [bytearray(b"x"), memoryview(b"x"), object(), "\ud800"])
def test_freezing_refuses_what_packing_refuses(bad):
    codec = Codec()
    for _ in range(3):
        with pytest.raises(NotStorable, match="payload"):
            codec.freeze({"k": bad})
        assert codec.freeze({"k": 1}) == (codec.pack({"k": 1}), {"k": 1})


def test_dict_order_is_kept():
    assert list(back({"b": 1, "a": 2, 1: 3})) == ["b", "a", 1]


@given(st.sets(st.one_of(st.integers(), st.text(), st.frozensets(st.integers()))), st.randoms())
@settings(deadline=None)
def test_equal_sets_have_equal_bytes(items, random):
    shuffled = list(items)
    random.shuffle(shuffled)
    assert CODEC.pack(set(shuffled)) == CODEC.pack(items)
    assert CODEC.pack(frozenset(shuffled)) == CODEC.pack(frozenset(items))


def test_nested_sets_do_not_double_the_work_at_each_level():
    value = frozenset({1})
    for _ in range(60):
        value = frozenset({value, 1})
    assert back(value) == value


def test_a_decimal_does_not_depend_on_the_context():
    with localcontext() as context:
        context.prec = 1
        assert back(Decimal("1.23456789")) == Decimal("1.23456789")


def test_what_comes_back_shares_nothing_with_what_went_in():
    value = {"lines": [Line("apple")]}
    copy = back(value)
    copy["lines"][0].product = "pear"
    copy["lines"].append(1)
    assert value == {"lines": [Line("apple")]}


@pytest.mark.parametrize("depth", [1, 100, 1023, 1024])
@pytest.mark.parametrize(
    "wrap", [lambda inner: [inner], lambda inner: (inner,), lambda inner: {"k": inner}]
)
def test_what_may_be_nested_so_deep_can_be_read(wrap, depth):
    value = None
    for _ in range(depth):
        value = wrap(value)
    data = CODEC.pack(value)
    assert CODEC.pack(CODEC.unpack(data)) == data
