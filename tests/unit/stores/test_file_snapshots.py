"""Snapshots of FileStore: small files, never the truth."""

import pytest
from file_store_helpers import OTHER, STREAM
from structlog.testing import capture_logs

from eskernel.errors import NotStorable
from eskernel.testing.conformance.samples import IDENTIFIERS
from eskernel.values import Receipt, Snapshot
from eskernel_stores.file import FileStore


@pytest.fixture
def store(tmp_path):
    opened = FileStore(tmp_path / "store")
    yield opened
    opened.close()


def files(store):
    return sorted(path for path in store._root.rglob("snapshots/**/*") if path.is_file())


def test_a_snapshot_file_can_be_read_by_a_person(store):
    store.store(Snapshot(STREAM, 3, {"balance": 5}, "v1", (Receipt("c", 1, 3),), 7))
    (path,) = files(store)
    assert path.read_text()[18:] == (
        '"stream":["bank_account","acc-1"],"sequence":3,"version":"v1","time":7,'
        '"receipts":[["c",1,3]],"state":{"balance":5}}\n'
    )


def test_no_more_are_kept_than_asked_for(store):
    for sequence in (1, 2, 4, 3):
        store.store(Snapshot(STREAM, sequence, sequence), keep=3)
    assert files(store)[0].read_text().count("\n") == 3
    store.store(Snapshot(STREAM, 1, 1), keep=1)
    assert store.load_latest(STREAM) == Snapshot(STREAM, 4, 4)
    assert files(store)[0].read_text().count("\n") == 1


def test_no_name_becomes_a_path(store):
    for name in IDENTIFIERS:
        store.store(Snapshot((name, name), 1, name))
    folder = store._root / "snapshots"
    assert all(path.relative_to(folder).parts[0] == path.name[:2] for path in files(store))
    assert len(files(store)) == len(IDENTIFIERS)
    assert {path.name for path in store._root.parent.iterdir()} == {"store"}


@pytest.mark.parametrize("place", [0, 10, 20, 60, -2, -1])
def test_a_damaged_snapshot_is_logged_and_an_older_one_loaded(store, place):
    store.store(Snapshot(STREAM, 1, "older"), keep=2)
    store.store(Snapshot(STREAM, 2, "newer"), keep=2)
    (path,) = files(store)
    first, second = path.read_bytes().splitlines(keepends=True)
    damaged = bytearray(first)
    damaged[place] ^= 1
    path.write_bytes(bytes(damaged) + second)
    with capture_logs() as logs:
        found = store.load_latest(STREAM)
        assert found in (Snapshot(STREAM, 1, "older"), None)
        assert found is not None or place == -1  # the line break: both are in one line
        store.store(Snapshot(STREAM, 3, "newest"), keep=2)
    assert {entry["event"] for entry in logs} == {
        "damaged_snapshot_ignored",
        "damaged_snapshot_dropped",
    }
    assert store.load_latest(STREAM) == Snapshot(STREAM, 3, "newest")
    assert files(store)[0].read_text().count("\n") == (1 if place == -1 else 2)


@pytest.mark.parametrize("content", [b"", b"rubbish", b"\0" * 50, b'{"crc":"00000000",}\n'])
def test_a_file_without_snapshots_is_none(store, content):
    store.store(Snapshot(STREAM, 1, "x"))
    files(store)[0].write_bytes(content)
    assert store.load_latest(STREAM) is None
    store.store(Snapshot(STREAM, 1, "y"))
    assert store.load_latest(STREAM) == Snapshot(STREAM, 1, "y")


def test_a_snapshot_of_another_stream_in_its_place_is_ignored(store):
    store.store(Snapshot(STREAM, 1, "x"))
    (path,) = files(store)
    store.store(Snapshot(OTHER, 1, "y"))
    next(other for other in files(store) if other != path).write_bytes(path.read_bytes())
    assert store.load_latest(OTHER) is None
    assert store.load_latest(STREAM) == Snapshot(STREAM, 1, "x")


def test_a_state_json_lacks_comes_back(store):
    for state in (float("nan"), {1: 2}, {"$set": {1}}, [b"\0"]):
        store.store(Snapshot(STREAM, 1, state))
        assert repr(store.load_latest(STREAM).state) == repr(state)


def test_a_name_that_is_no_utf8_is_refused(store):
    with pytest.raises(NotStorable, match="surrogates"):
        store.store(Snapshot(("a", "\ud800"), 1, "x"))
    assert store.load_latest(("a", "\ud800")) is None
    assert files(store) == []


def test_a_draft_left_by_a_crash_does_no_harm(store):
    store.store(Snapshot(STREAM, 1, "x"))
    files(store)[0].with_suffix(".tmp").write_bytes(b"half a snap")
    assert store.load_latest(STREAM) == Snapshot(STREAM, 1, "x")
    store.store(Snapshot(STREAM, 2, "y"))
    assert store.load_latest(STREAM) == Snapshot(STREAM, 2, "y")
    assert len(files(store)) == 1
