"""What is stored: damaged rows, values no database keeps, huge numbers and large appends."""

import random

import pytest
from sql_rows import rows
from store_helpers import OTHER, STREAM, append, listed, log, logged, made, payloads

from eskernel.contracts import Commit
from eskernel.errors import ConcurrencyConflict, CorruptStore, NotStorable
from eskernel.values import Event, Range, Snapshot
from eskernel_stores.batching import batch, prepared
from eskernel_stores.bounds import LAST
from eskernel_stores.sql import reading


@pytest.fixture
def store(sql_url, open_sql):
    return open_sql(sql_url)


@pytest.fixture
def change(store):
    """Runs a statement on the rows behind the store's back."""
    return lambda statement: rows(store, statement)


def blob(store, text):
    """Return bytes as the database writes them."""
    return f"x'{text}'" if "sqlite" in repr(store) else f"'\\x{text}'"


def three(stream_id, **attributes):
    events = made(stream_id, 0, *range(3))
    return [event._replace(**attributes) for event in events]


@pytest.fixture
def written(store):
    store.append(STREAM, three(STREAM, tags=("vip",)), expected_sequence=0)
    append(store, OTHER, "z")
    return store


@pytest.mark.parametrize("missing", [1, 2])
def test_a_hole_in_a_stream_is_named(written, change, missing):
    change(f"DELETE FROM eskernel_events WHERE position = {missing}")
    with pytest.raises(CorruptStore, match=rf"event {missing} .*missing") as caught:
        payloads(written)
    assert (caught.value.stream_id, caught.value.sequence) == (STREAM, missing)
    assert payloads(written, OTHER) == ["z"]
    found = written.fold(STREAM, listed, [], Range(missing + 1))
    assert [event.sequence for event in found] == [*range(missing + 1, 4)]


def test_a_hole_where_a_page_ends_is_named(store, change, monkeypatch):
    append(store, STREAM, *range(2 * reading.PAGE + 1))
    missing = reading.PAGE + 1
    change(f"DELETE FROM eskernel_events WHERE sequence = {missing}")
    with pytest.raises(CorruptStore) as caught:
        payloads(store)
    assert caught.value.sequence == missing


def test_a_damaged_payload_is_met_by_who_reads_it(written, change):
    change("UPDATE eskernel_events SET payload = append_id WHERE position = 2")
    events = written.fold(STREAM, listed, [])
    assert events[0].payload == 0
    with pytest.raises(CorruptStore):
        _ = events[1].payload
    assert events[2].payload == 2


def test_a_damaged_payload_of_the_log_is_met_by_who_reads_it(written, change):
    change("UPDATE eskernel_events SET payload = append_id WHERE position = 2")
    events = log(written)
    assert len(events) == 4
    with pytest.raises(CorruptStore):
        _ = events[1].payload


@pytest.mark.parametrize("tags", ["", "{", "7", '{"a": 1}', '"vip"', "null", "[", "vip"])
def test_damaged_tags_are_named(written, change, tags):
    change(f"UPDATE eskernel_events SET tags = '{tags}' WHERE position = 2")
    for read in (payloads, log):
        with pytest.raises(CorruptStore, match="tags") as caught:
            read(written)
        assert (caught.value.stream_id, caught.value.sequence) == (STREAM, 2)
    assert payloads(written, OTHER) == ["z"]


def test_a_damaged_snapshot_is_met_by_who_reads_it(written, change):
    written.store(Snapshot(STREAM, 3, "state"))
    change(f"UPDATE eskernel_snapshots SET state = {blob(written, 'c1')}")
    snapshot = written.load_latest(STREAM)
    with pytest.raises(CorruptStore):
        _ = snapshot.state


@pytest.mark.parametrize("damage", ["", "c1", "90c0", "92a163", "91a163", "919101", "05"])
def test_damaged_receipts_of_a_snapshot_are_corrupt(store, damage):
    store.store(Snapshot(STREAM, 3, "state"))
    rows(store, f"UPDATE eskernel_snapshots SET receipts = {blob(store, damage)}")
    with pytest.raises(CorruptStore) as caught:
        store.load_latest(STREAM)
    assert caught.value.stream_id == STREAM


def test_text_that_is_no_unicode_is_damaged(sqlite_url, open_sql):
    store = open_sql(sqlite_url)
    append(store, STREAM, "x")
    rows(store, "UPDATE eskernel_events SET type = CAST(x'ff' AS TEXT)")
    for read in (payloads, log):
        with pytest.raises(CorruptStore):
            read(store)


UNSTORABLE = [
    pytest.param({"type": "a\0b"}, id="NUL in the type"),
    pytest.param({"type": "\ud800"}, id="surrogate in the type"),
    pytest.param({"type": 5}, id="number as the type"),
    pytest.param({"type": None}, id="no type"),
    pytest.param({"tags": ("a\0",)}, id="NUL in a tag"),
    pytest.param({"tags": ("fine", "\udfff")}, id="surrogate in a tag"),
    pytest.param({"tags": (object(),)}, id="tag of no string"),
    pytest.param({"command_id": "\0"}, id="NUL in the command id"),
    pytest.param({"command_id": "\ud800"}, id="surrogate in the command id"),
    pytest.param({"timestamp": 2**63}, id="late timestamp"),
    pytest.param({"timestamp": -(2**70)}, id="early timestamp"),
    pytest.param({"timestamp": 1.5}, id="fraction as timestamp"),
    pytest.param({"timestamp": None}, id="no timestamp"),
    pytest.param({"body": object()}, id="payload of no value"),
    pytest.param({"header": {"a": object()}}, id="metadata of no value"),
]


@pytest.mark.parametrize("attributes", UNSTORABLE)
def test_what_cannot_be_stored_fails_its_own_append_only(store, attributes):
    results = store.append_batch(
        [
            Commit(OTHER, made(OTHER, 0, "before"), 0),
            Commit(STREAM, three(STREAM, **attributes), 0),
            Commit(STREAM, made(STREAM, 3, "chained"), 3),
            Commit(("t", "u"), made(("t", "u"), 0, "after"), 0),
        ]
    )
    assert results[::3] == [1, 2]
    assert isinstance(results[1], NotStorable)
    assert isinstance(results[2], ConcurrencyConflict)
    assert logged(store) == ["before", "after"]


@pytest.mark.parametrize(
    "stream_id",
    [
        ("t", "a\0"),
        ("\0", "a"),
        ("t", "\ud800"),
        ("t", 5),
        ("t",),
        ("t", "a", "b"),
        ["t", "a"],
        None,
    ],
)
def test_a_stream_no_database_can_name_fails_its_own_append_only(store, stream_id):
    results = store.append_batch(
        [
            Commit(OTHER, made(OTHER, 0, "before"), 0),
            Commit(stream_id, made(stream_id, 0, "bad"), 0),
            Commit(OTHER, made(OTHER, 1, "after"), 1),
        ]
    )
    assert results[::2] == [1, 2]
    assert isinstance(results[1], NotStorable)
    assert "string" in str(results[1]) or "must not contain" in str(results[1])


@pytest.mark.parametrize("expected", [2**63 - 1, 2**63, 2**80, -1, -(2**80), "0", None])
def test_an_impossible_sequence_fails_its_own_append_only(store, expected):
    events = made(STREAM, expected if isinstance(expected, int) else 0, "bad")
    results = store.append_batch(
        [
            Commit(OTHER, made(OTHER, 0, "before"), 0),
            Commit(STREAM, events, expected),
            Commit(OTHER, made(OTHER, 1, "after"), 1),
        ]
    )
    assert results[::2] == [1, 2]
    assert isinstance(results[1], ConcurrencyConflict | NotStorable | TypeError)
    assert append(store, STREAM, "x") == 3


@pytest.mark.parametrize("append_id", [-1, 2**128, "7", 1.5])
def test_an_impossible_append_id_fails_its_own_append_only(store, append_id):
    results = store.append_batch(
        [
            Commit(STREAM, made(STREAM, 0, "bad"), 0, append_id),
            Commit(OTHER, made(OTHER, 0, "fine"), 0, 2**128 - 1),
        ]
    )
    assert isinstance(results[0], Exception)
    assert results[1] == 1


def test_the_largest_append_ids_are_told_apart(store):
    events = made(STREAM, 0, "x")
    for append_id in (0, 2**128 - 1):
        stream_id = ("t", str(append_id))
        events = made(stream_id, 0, "x")
        options = {"expected_sequence": 0, "append_id": append_id}
        position = store.append(stream_id, events, **options)
        assert store.append(stream_id, events, **options) == position
        with pytest.raises(ConcurrencyConflict):
            store.append(stream_id, events, expected_sequence=0, append_id=append_id ^ 1)


@pytest.mark.parametrize(
    ("range", "expected"),
    [
        (Range(0, 2**63 - 1), [0, 1, 2]),
        (Range(0, 2**63), [0, 1, 2]),
        (Range(2, 2**200), [1, 2]),
        (Range(2**63 - 1), []),
        (Range(2**63), []),
        (Range(2**200), []),
        (Range(2**200, 2**201), []),
        (Range(3, 1), []),
        (Range(0, 0), []),
        (Range(-5, 2), [0]),
    ],
)
def test_ranges_may_be_larger_than_any_number_of_the_database(store, range, expected):
    store.append(STREAM, three(STREAM), expected_sequence=0)
    assert [event.payload for event in store.fold(STREAM, listed, [], range)] == expected
    found, reached = store.fold_all(listed, [], range)
    assert [event.payload for event in found] == expected
    assert reached == (expected[-1] + 1 if expected else max(range.start - 1, 0))
    for filters in ({"types": ["happened"]}, {"aggregate_types": ["bank_account"]}):
        assert store.fold_all(listed, [], range, **filters) == (found, reached)


@pytest.mark.parametrize("limit", [2**63, 2**200, 3])
def test_a_limit_may_be_larger_than_any_number_of_the_database(store, limit):
    store.append(STREAM, three(STREAM), expected_sequence=0)
    assert store.fold_all(lambda n, _: n + 1, 0, limit=limit) == (3, 3)


def test_the_largest_numbers_are_kept(store):
    event = Event(STREAM, 1, "happened", 2**64 - 1)
    event = event._replace(timestamp=LAST)
    store.append(STREAM, [event], expected_sequence=0)
    assert store.fold(STREAM, listed, []) == [event.at(1)]


def test_filters_may_name_what_nobody_stored(store):
    append(store, STREAM, "x")
    names = [f"type {number}" for number in range(3000)]
    for filters in ({"types": []}, {"types": names}, {"aggregate_types": ["%", "bank_accoun"]}):
        assert store.fold_all(listed, [], **filters) == ([], 1)
    found, _ = store.fold_all(listed, [], types=[*names, "happened"])
    assert [event.payload for event in found] == ["x"]


def test_large_payloads_share_a_batch(store):
    rng = random.Random(5)
    large = [rng.randbytes(1 << 20) for _ in range(6)]
    streams = [("t", str(number)) for number in range(5)]
    results = store.append_batch(
        [Commit(one, made(one, 0, part), 0) for one, part in zip(streams, large, strict=False)]
        + [Commit(streams[0], made(streams[0], 1, large[5], "small"), 1)]
    )
    assert results == [1, 2, 3, 4, 5, 7]
    assert payloads(store, streams[0]) == [large[0], large[5], "small"]
    assert logged(store) == [*large, "small"]


def test_an_append_may_have_ten_thousand_events(store):
    assert append(store, STREAM, *range(10_000)) == 10_000
    assert payloads(store) == [*range(10_000)]
    assert append(store, STREAM, "more") == 10_001
    again = {"expected_sequence": 10_001, "append_id": 7}
    events = made(STREAM, 10_001, *range(5000))
    assert store.append(STREAM, events, **again) == 15_001
    assert store.append(STREAM, events, **again) == 15_001
    with pytest.raises(ConcurrencyConflict):
        store.append(STREAM, made(STREAM, 0, *range(10_000)), expected_sequence=0)


def test_a_batch_may_have_a_thousand_appends(store):
    """Some fail, and the others are stored as if each had come by itself."""
    streams = [("t", str(number % 400)) for number in range(1000)]
    lengths = dict.fromkeys(streams, 0)
    commits, expected = [], []
    for number, one in enumerate(streams):
        if number % 7 == 3:
            commits.append(Commit(one, made(one, lengths[one] + 5, "bad"), lengths[one] + 5))
        else:
            commits.append(Commit(one, made(one, lengths[one], number), lengths[one]))
        fails = number % 7 == 3 or lengths[one] < 0
        expected.append(not fails)
        lengths[one] = -9 if fails else lengths[one] + 1
    results = store.append_batch(commits)
    assert [isinstance(one, int) for one in results] == expected
    assert logged(store) == [number for number in range(1000) if expected[number]]


def test_a_batch_that_is_too_large_for_one_write_takes_several(store, monkeypatch):
    monkeypatch.setattr(batch, "ROUND_BYTES", 1000)
    rounds = []
    write = store.write

    def writing(this):
        rounds.append(len(this.events))
        return write(this)

    monkeypatch.setattr(store, "write", writing)
    append(store, OTHER, "old")
    rounds.clear()
    commits = [Commit(STREAM, made(STREAM, n, "x" * 300), n) for n in range(10)]
    commits[6:6] = [Commit(OTHER, made(OTHER, 0, "late"), 0), Commit(OTHER, made(OTHER, 1, "y"), 1)]
    results = store.append_batch(commits)
    assert rounds == [4, 6, 2], "a conflicting commit is sent too"
    assert [isinstance(one, ConcurrencyConflict) for one in results] == [False] * 6 + [True] * 2 + [
        False
    ] * 4
    assert [one for one in results if isinstance(one, int)] == [*range(2, 12)]
    assert len(payloads(store)) == 10


def test_an_append_that_is_too_large_for_any_write_is_refused(store, monkeypatch):
    monkeypatch.setattr(prepared, "COMMIT_BYTES", 1000)
    results = store.append_batch(
        [
            Commit(STREAM, made(STREAM, 0, "x" * 999), 0),
            Commit(OTHER, made(OTHER, 0, "y"), 0),
        ]
    )
    assert isinstance(results[0], NotStorable)
    assert "1002 bytes" in str(results[0])
    assert results[1] == 1
