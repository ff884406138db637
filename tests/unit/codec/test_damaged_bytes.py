"""Damaged and hostile bytes raise a clear error and execute nothing."""

import sys

import msgpack
import pytest
from codec_samples import CODEC, Color, Point, values
from hypothesis import given, settings
from hypothesis import strategies as st
from msgpack import ExtType

from eskernel.errors import CorruptStore, InvalidDomain


def read(data):
    try:
        return CODEC.unpack(data)
    except (CorruptStore, InvalidDomain) as error:
        return error


@given(st.binary(max_size=200))
@settings(deadline=None, max_examples=1000)
def test_random_bytes_give_a_value_or_a_clear_error(data):
    read(data)


@given(values, st.data())
@settings(deadline=None, max_examples=300)
def test_truncated_bytes_are_corrupt(value, data):
    packed = CODEC.pack(value)
    with pytest.raises(CorruptStore):
        CODEC.unpack(packed[: data.draw(st.integers(0, len(packed) - 1))])


@given(values, st.data())
@settings(deadline=None, max_examples=500)
def test_a_flipped_byte_gives_a_value_or_a_clear_error(value, data):
    packed = bytearray(CODEC.pack(value))
    packed[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(1, 255))
    read(bytes(packed))


extensions = st.builds(ExtType, st.integers(0, 40), st.binary(max_size=20))


@given(st.recursive(extensions | st.integers(0, 9), lambda inner: st.lists(inner, max_size=4)))
@settings(deadline=None, max_examples=1000)
def test_forged_extensions_give_a_value_or_a_clear_error(forged):
    read(msgpack.packb(forged))


@pytest.mark.parametrize(
    "forged",
    [
        [ExtType(1, b"x"), 1],
        [ExtType(2, b""), []],
        {ExtType(1, b""): 1},
        [ExtType(4, b"Point")],
        [ExtType(4, b"Point"), 1],
        [ExtType(4, b"Point"), {"x": 1}, 2],
        ExtType(5, b""),
        ExtType(17, b"one"),
        ExtType(18, b"short"),
        ExtType(19, b""),
        ExtType(19, b"02024-01-01T00:00:00\0?"),
        ExtType(19, b"02024-01-01T00:00:00\0@Nowhere/Atlantis"),
        ExtType(19, b"02024-01-01T00:00:00\0@../../etc/passwd"),
        ExtType(19, b"02024-01-01T00:00:00\0@/etc/passwd"),
        ExtType(19, b"02024-01-01T00:00:00\0+1e9"),
        ExtType(19, b"22024-01-01T00:00:00\0"),
        ExtType(20, b"2024-13-01"),
        ExtType(22, b""),
        [[1], {"a": ExtType(99, b"")}],
    ],
    ids=repr,
)
def test_forged_values_are_corrupt(forged):
    with pytest.raises(CorruptStore, match="stored bytes cannot be decoded"):
        CODEC.unpack(msgpack.packb(forged))


@pytest.mark.parametrize(
    "name", [b"os.system", b"eskernel.codec.Codec", b"__import__", b"Codec", b"\xff", b""]
)
@pytest.mark.parametrize("code", [4, 32, 33])
def test_names_in_the_bytes_are_never_looked_up_anywhere(name, code):
    with pytest.raises(InvalidDomain, match="not declared"):
        CODEC.unpack(msgpack.packb([ExtType(code, name), {}]))


def test_nothing_is_imported_because_of_the_bytes():
    modules = set(sys.modules)
    read(msgpack.packb([ExtType(4, b"antigravity"), {}]))
    read(msgpack.packb(ExtType(32, b"antigravity\0fly")))
    assert "antigravity" not in set(sys.modules) - modules


def test_an_unknown_field_is_never_set():
    with pytest.raises(InvalidDomain, match="no field '__class__'"):
        CODEC.unpack(msgpack.packb([ExtType(4, b"Point"), {"x": 1, "__class__": 2}]))


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x01\x02", b"\x91" * 2000, b"\xdd" * 5])
def test_what_is_no_msgpack_is_corrupt(data):
    with pytest.raises(CorruptStore):
        CODEC.unpack(data)


def test_deep_bytes_need_no_stack():
    head = msgpack.packb([ExtType(1, b""), 1])[:-1]
    value = CODEC.unpack(head * 1000 + b"\x01")
    for _ in range(1000):
        (value,) = value
    assert value == 1


def test_bytes_from_a_driver_may_be_a_memoryview():
    assert CODEC.unpack(memoryview(CODEC.pack([Point(1), Color.RED]))) == [Point(1), Color.RED]


def test_a_full_stack_is_not_a_damaged_store():
    @staticmethod
    def overflow(_):
        raise RecursionError

    codec = type(CODEC)()
    codec._extension = lambda code, data: overflow(data)
    with pytest.raises(RecursionError):
        codec.unpack(CODEC.pack((1,)))
