"""Appends as messages: they come back as they were, and damage is noticed."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eskernel.codec import Codec
from eskernel.contracts import Commit
from eskernel.errors import NotStorable
from eskernel.values import Event
from eskernel_stores.batching import Prepared
from eskernel_stores.jetstream.log import appends
from eskernel_stores.jetstream.log.appends import Appends, read, to_bytes, to_payloads

CODEC = Codec()
STREAM = ("bank_account", "acc-1")
APPEND_ID = 7


def prepared(payloads, expected=0, **fields):
    events = [
        Event(STREAM, sequence, "happened", payload, **fields)
        for sequence, payload in enumerate(payloads, expected + 1)
    ]
    commit = Commit(STREAM, events, expected, APPEND_ID)
    made = Prepared(0, commit, CODEC.pack, CODEC.unpack, to_bytes)
    if made.error:
        raise made.error
    return made


def messages(commit, most_bytes=1000, most_messages=1000, first=10):
    payloads = to_payloads(commit, most_bytes, most_messages)
    assert all(len(payload) <= most_bytes for payload in payloads)
    return [read(payload, number) for number, payload in enumerate(payloads, first)]


@given(
    st.lists(st.binary(max_size=300), min_size=1, max_size=20),
    st.integers(0, 2**62),
    st.integers(100, 2000),
)
def test_an_append_comes_back_from_its_messages(payloads, expected, most_bytes):
    placed = messages(prepared(payloads, expected), most_bytes)
    assert [one.chunk for one in placed] == [*range(len(placed))]
    assert {one.chunks for one in placed} == {len(placed)}
    assert {one.position for one in placed} == {10 << 20}
    assert {(one.first, one.count, one.last) for one in placed} == {
        (expected + 1, len(payloads), expected + len(payloads))
    }
    assert {one.append_id for one in placed} == {APPEND_ID.to_bytes(16)}
    gathered = Appends()
    *nothing, body = [gathered.take(one) for one in placed]
    assert nothing == [None] * (len(placed) - 1)
    assert [CODEC.unpack(event[1]) for event in body] == payloads


def test_every_field_of_an_event_is_kept():
    commit = prepared(["x"], metadata={"by": "me"}, tags=("a", "b"), timestamp=-5, command_id="c-1")
    ((placed),) = messages(commit)
    ((name, body, header, tags, time, by),) = placed.body
    assert (name, CODEC.unpack(body), CODEC.unpack(header)) == ("happened", "x", {"by": "me"})
    assert (tags, time, by) == (("a", "b"), -5, "c-1")


def test_a_reader_who_begins_amidst_an_append_passes_over_it():
    before, after = prepared([b"x" * 3000]), prepared([b"y"], 1)
    gathered = Appends()
    for placed in messages(before)[1:]:
        assert gathered.take(placed) is None
    assert gathered.take(*messages(after)) is not None


def test_a_missing_piece_is_noticed():
    first, _, third, *_ = messages(prepared([b"x" * 3000]))
    for other in (third, *messages(prepared([b"y"], 1)), first):
        gathered = Appends()
        gathered.take(first)
        with pytest.raises(ValueError, match="piece 1 of an append is missing"):
            gathered.take(other)


def test_what_one_batch_cannot_take_is_refused_with_the_limit():
    commit = prepared([b"x" * 5000])
    assert len(to_payloads(commit, 1000, 6)) == 6
    with pytest.raises(NotStorable, match=r"more than the 4680 of one append: .* 5 messages"):
        to_payloads(commit, 1000, 5)


def test_an_append_of_too_many_events_is_refused(monkeypatch):
    monkeypatch.setattr(appends, "MOST_EVENTS", 3)
    assert to_payloads(prepared([1, 2, 3]), 1000, 1)
    with pytest.raises(NotStorable, match="4 events are more than 3"):
        to_payloads(prepared([1, 2, 3, 4]), 1000, 1)


@pytest.mark.parametrize(
    "fields",
    [
        {"tags": ("a\0",)},
        {"tags": ("\ud800",)},
        {"tags": (7,)},
        {"timestamp": 2**63},
        {"timestamp": 1.5},
        {"command_id": "\0"},
    ],
)
def test_what_the_form_cannot_hold_is_refused_by_name(fields):
    with pytest.raises(NotStorable, match=next(iter(fields))):
        prepared(["x"], **fields)


@given(st.data())
def test_damage_is_noticed_or_harmless(data):
    payload = to_payloads(prepared([b"abc", {"n": 1}]), 1000, 1)[0]
    place = data.draw(st.integers(0, len(payload) - 1))
    damaged = bytearray(payload)
    damaged[place] = data.draw(st.integers(0, 255))
    for candidate in (bytes(damaged), payload[:place], payload + payload[place:]):
        try:
            placed = read(candidate, 1)
            body = Appends().take(placed) or ()
        except ValueError:
            continue
        for name, packed, header, tags, time, by in body:
            assert (type(name), type(packed), type(header)) == (str, bytes, bytes)
            assert all(type(tag) is str for tag in tags)
            assert type(time) is int
            assert by is None or type(by) is str


@pytest.mark.parametrize(
    "fields",
    [
        (2, 1, 1, b"i", 0, 1, ()),
        (1, 1, 1, b"i", 0, 1, ()),
        (1, 1, 0, b"i", 0, 1, ()),
        (1, 1, 1, b"i", 1, 1, ()),
        (1, 1, 1, b"i", 0, 2, ()),
        (1, "1", 1, b"i", 0, 1, (("a", b"", b"", (), 0, None),)),
        (1, 1, 1, b"i", 0, 1, (("a", "", b"", (), 0, None),)),
        (1, 1, 1, b"i", 0, 1, (("a", b"", b"", (), 0),)),
        (1, 1, 1, b"i", 0, 1, (7,)),
        (1, 1, 1, b"i", 0, 1, None),
        (1, 1, 1),
        7,
    ],
)
def test_what_is_no_append_is_refused(fields):
    with pytest.raises(ValueError):
        read(msgpack.packb(fields), 1)
