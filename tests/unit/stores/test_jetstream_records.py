"""Records of JetStream buckets, as bytes and back, and what becomes of parts that do not fit."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from eskernel.errors import CorruptStore
from eskernel_stores.jetstream.buckets.bucket import unix_seconds
from eskernel_stores.jetstream.buckets.chunks import fitted
from eskernel_stores.jetstream.buckets.records import (
    EVERYTHING,
    Chunks,
    Part,
    Record,
    pack,
    packed,
    unpack,
    unpacked,
)

IDS = some.text("0123456789abcdef", min_size=16, max_size=16)
CHUNKS = some.builds(Chunks, IDS, some.integers(1, 999), some.integers(1, 2**40))
PARTS = some.builds(Part, some.integers(0, 2**63 - 1), some.one_of(some.binary(), CHUNKS))


@given(some.lists(PARTS, max_size=5), some.lists(IDS, max_size=3))
def test_a_record_comes_back_as_it_was(parts, dropped):
    record = Record(tuple(parts), tuple(dropped))
    assert unpacked(packed(record), "k") == record


def test_nothing_at_all_is_what_other_programs_leave_and_drops_all_chunks():
    assert unpacked(b"", "k") == Record((), (EVERYTHING,))


@given(some.lists(PARTS, min_size=1, max_size=2), some.data())
def test_a_record_that_is_cut_short_is_damaged(parts, data):
    whole = packed(Record(tuple(parts)))
    length = data.draw(some.integers(1, len(whole) - 1))
    with pytest.raises(CorruptStore, match="the key"):
        unpacked(whole[:length], "the key")


@pytest.mark.parametrize(
    "value",
    [None, 1, [], [2, [], []], ["1", [], []], [1], [1, [], [5]], [1, [], [[1, []]]], {1: 2}],
)
def test_another_value_is_no_record(value):
    with pytest.raises(CorruptStore, match="the key"):
        unpacked(pack(value), "the key")


@given(some.binary(max_size=40))
def test_any_bytes_are_a_value_or_damaged(data):
    try:
        unpack(data, "this")
    except CorruptStore as error:
        assert str(error).startswith("this cannot be read")


@given(
    some.lists(some.integers(0, 300), max_size=6),
    some.integers(20, 100),
)
def test_parts_fit_and_their_chunks_hold_all_of_them(sizes, room):
    given_parts = [Part(9 - index, bytes([index]) * size) for index, size in enumerate(sizes)]
    messages, kept = fitted("s", given_parts, room)
    chunks = {message.subject: message.payload for message in messages}
    assert len(chunks) == len(messages)
    assert all(len(chunk) <= room for chunk in chunks.values())
    inline = 0
    for (number, value), (before, whole) in zip(kept, given_parts, strict=True):
        assert number == before
        if isinstance(value, bytes):
            inline += len(value)
            assert value == whole
        else:
            cut = [chunks.pop(f"s.chunk.{value.id}.{one}") for one in range(value.messages)]
            assert b"".join(cut) == whole
            assert value.size == len(whole)
    assert inline <= room // 2
    assert chunks == {}


def test_a_part_that_is_in_chunks_stays_there():
    part = Part(5, Chunks("abc", 3, 300))
    assert fitted("s", [part], 100) == ([], [part])


def test_the_first_parts_have_the_room():
    messages, kept = fitted("s", [Part(3, bytes(40)), Part(2, bytes(40)), Part(1, bytes(5))], 100)
    assert [type(part.value) for part in kept] == [bytes, Chunks, bytes]
    assert [len(message.payload) for message in messages] == [40]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-11-28T00:47:25.611547514Z", 1795826845.611547),
        ("2026-11-28T00:47:25.5Z", 1795826845.5),
        ("2026-11-28T00:47:25Z", 1795826845),
    ],
)
def test_times_of_the_server_are_read(text, seconds):
    assert unix_seconds(text) == seconds
