"""What opening makes of logs that were cut, damaged or tampered with."""

import os
import random
import shutil

import pytest
from file_store_helpers import OTHER, STREAM, add, commit, contents, log, payloads, segments
from structlog.testing import capture_logs
from support import new_seed

from eskernel.errors import CorruptStore, StoreUnavailable
from eskernel_stores.file import FileStore

THIRD = ("bank_account", "acc-3")


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, lambda fd: None)


@pytest.fixture
def written(tmp_path):
    """A folder with six lines of three writes, and the log they hold."""
    store = FileStore(tmp_path / "store")
    add(store, STREAM, 0, "a", {"n": 1}, append_id=1)
    store.append_batch([commit(STREAM, 2, "b"), commit(OTHER, 0, "c", "d")])
    store.append_batch([commit(s, n, "e") for s, n in ((STREAM, 3), (OTHER, 2), (THIRD, 0))])
    found = log(store)
    store.close()
    return tmp_path / "store", found


def lines_of(root):
    return segments(root)[0].read_bytes().splitlines(keepends=True)


def events_in(lines):
    return sum(line.count(b'"type":') for line in lines)


def reopened(root, *, goes_on=True):
    """Open, and return the log and the names of what was logged."""
    with capture_logs() as logs:
        store = FileStore(root)
    found = log(store)
    if goes_on:
        add(store, ("new", "stream"), 0, "goes on")
        store.close()
        store = FileStore(root)
        assert log(store) == [*found, (("new", "stream"), 1, "goes on")]
    store.close()
    return found, [entry["event"] for entry in logs]


def test_a_log_cut_at_any_byte_opens_with_the_whole_lines_before(written, tmp_path):
    root, before = written
    data = segments(root)[0].read_bytes()
    lines = lines_of(root)
    assert len(lines) == 6
    for cut in range(len(data) + 1):
        copy = tmp_path / "copy"
        copy.mkdir()
        (copy / segments(root)[0].name).write_bytes(data[:cut])
        found, logged = reopened(copy, goes_on=cut % 10 == 0)
        whole = data[:cut].count(b"\n")
        assert found == before[: events_in(lines[:whole])]
        rest = data[:cut][sum(map(len, lines[:whole])) :]
        assert logged == (["torn_tail_moved"] if rest else [])
        assert [path.read_bytes() for path in copy.glob("torn-*")] == ([rest] if rest else [])
        shutil.rmtree(copy)


@pytest.mark.parametrize(
    "tail", [b"\0" * 5000, b"\0" * 100 + b'ion":5}\n', b"\n", b"{}\n" * 9, b"x"]
)
def test_bytes_that_are_no_lines_at_the_end_are_moved_aside(written, tail):
    root, before = written
    with segments(root)[0].open("ab") as file:
        file.write(tail)
    found, logged = reopened(root)
    assert (found, logged) == (before, ["torn_tail_moved"])
    assert next(root.glob("torn-*")).read_bytes() == tail


def test_zeros_where_the_first_write_should_be_are_moved_aside(tmp_path):
    (tmp_path / "log-00000000000000000001.jsonl").write_bytes(b"\0" * 50 + b'ion":5}\n')
    assert reopened(tmp_path) == ([], ["torn_tail_moved"])


def test_torn_tails_never_overwrite_one_another(written):
    root, before = written
    for number in range(3):
        with segments(root)[0].open("ab") as file:
            file.write(b"torn %d" % number)
        store = FileStore(root)
        assert log(store) == before
        store.close()
    assert sorted(p.read_bytes() for p in root.glob("torn-*")) == [b"torn 0", b"torn 1", b"torn 2"]


def damage(root, number, kind):
    lines = lines_of(root)
    if kind == "missing":
        del lines[number]
    elif kind == "joined":
        lines[number] = lines[number][:-1] + b"?"
    elif kind == "cut":
        lines[number] = lines[number][:30] + b"\n"
    elif kind == "twice":
        lines.insert(number, lines[number])
    else:
        lines[number] = bytes(len(lines[number]) - 1) + b"\n"
    segments(root)[0].write_bytes(b"".join(lines))


@pytest.mark.parametrize("kind", ["missing", "joined", "cut", "zeros"])
@pytest.mark.parametrize("number", range(3))
def test_damage_before_a_later_write_is_reported_with_file_and_line(written, number, kind):
    root, _ = written
    damage(root, number, kind)
    before = contents(root)
    with pytest.raises(CorruptStore, match=rf"log-0+1\.jsonl, line {number + 1}, is"):
        FileStore(root)
    assert contents(root) == before


@pytest.mark.parametrize("kind", ["missing", "joined", "cut", "zeros", "twice"])
@pytest.mark.parametrize("number", [3, 4])
def test_damage_inside_the_last_write_is_a_torn_tail(written, number, kind):
    root, before = written
    kept = events_in(lines_of(root)[: number + (kind == "twice")])
    damage(root, number, kind)
    found, logged = reopened(root)
    assert found == before[:kept]
    assert logged == ["torn_tail_moved"]


def test_any_changed_bits_are_reported_or_cost_only_the_last_write(written, tmp_path):
    root, before = written
    data = segments(root)[0].read_bytes()
    last_write = sum(map(len, lines_of(root)[:3]))
    chance = random.Random(new_seed())
    for number in range(400):
        copy = tmp_path / f"copy-{number}"
        copy.mkdir()
        changed = bytearray(data)
        places = [chance.randrange(len(data)) for _ in range(chance.choice((1, 1, 2)))]
        for place in places:
            changed[place] ^= 1 << chance.randrange(8)
        (copy / segments(root)[0].name).write_bytes(changed)
        try:
            store = FileStore(copy)
        except CorruptStore:
            assert min(places) < last_write
        else:
            found = log(store)
            store.close()
            assert found == before[: len(found)]
            assert len(found) >= events_in(lines_of(root)[:3])
            assert changed == data or len(found) < len(before)
        shutil.rmtree(copy)


def test_an_append_repeated_after_its_write_was_torn_is_stored_once(written):
    root, before = written
    lines = lines_of(root)
    segments(root)[0].write_bytes(b"".join(lines[:4]) + lines[4][:50])
    store = FileStore(root)
    results = store.append_batch([commit(s, n, "e") for s, n in ((OTHER, 2), (THIRD, 0))])
    assert results == [7, 8]
    assert log(store) == before
    assert add(store, STREAM, 0, "a", {"n": 1}, append_id=1) == 2
    store.close()


@pytest.fixture
def segmented(tmp_path):
    """A folder with a log in many segments, and the log."""
    store = FileStore(tmp_path / "store", segment_bytes=500)
    for number in range(12):
        add(store, STREAM, number, number)
        add(store, OTHER, number, number, append_id=number)
    found = log(store)
    store.close()
    assert len(segments(tmp_path / "store")) > 5
    assert len(list((tmp_path / "store").glob("*.index"))) == len(segments(tmp_path / "store")) - 1
    return tmp_path / "store", found


def test_a_segment_is_no_longer_than_asked_for(segmented):
    root, _ = segmented
    assert max(path.stat().st_size for path in segments(root)) <= 500


@pytest.mark.parametrize("damaged", [None, b"", b"rubbish", b"flipped", b"foreign"])
def test_index_files_are_made_again_when_missing_or_damaged(segmented, damaged):
    root, before = segmented
    good = {path: path.read_bytes() for path in root.glob("*.index")}
    others = [*list(good.values())[1:], b""]
    for (path, data), other in zip(good.items(), others, strict=True):
        path.unlink()
        changed = {b"flipped": data[:-1] + bytes([data[-1] ^ 1]), b"foreign": other}
        if damaged is not None:
            path.write_bytes(changed.get(damaged, damaged))
    store = FileStore(root)
    assert log(store) == before
    assert payloads(store, OTHER) == [*range(12)]
    assert add(store, OTHER, 3, 3, append_id=3) == 8
    store.close()
    assert {path: path.read_bytes() for path in good} == good


def test_reading_one_stream_reads_no_other_segment(segmented):
    root, _ = segmented
    store = FileStore(root)
    add(store, THIRD, 0, "x")
    for path in segments(root)[:-1]:
        path.unlink()
    assert payloads(store, THIRD) == ["x"]
    store.close()


def test_damage_in_a_full_segment_is_found_when_it_is_read(segmented):
    root, before = segmented
    path = segments(root)[1]
    data = path.read_bytes()
    path.write_bytes(data.replace(b"happened", b"Happened", 1))
    store = FileStore(root)
    stream_id, sequence, _ = before[first_position(path) - 1]
    with pytest.raises(CorruptStore, match=rf"{path.name}, line 1, is damaged") as caught:
        payloads(store, stream_id)
    assert (caught.value.stream_id, caught.value.sequence) == (stream_id, sequence)
    with pytest.raises(CorruptStore, match=rf"{path.name}, line 1, is damaged"):
        log(store)
    assert path.read_bytes() != data
    store.close()


def first_position(path):
    return int(path.stem.removeprefix("log-"))


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("cut", [1, 5, 10**9])
def test_a_full_segment_that_is_cut_is_reported(segmented, cut, index):
    root, _ = segmented
    path = segments(root)[2]
    path.write_bytes(path.read_bytes()[:-cut])
    if not index:
        path.with_suffix(".index").unlink()
    before = contents(root)
    with pytest.raises(CorruptStore, match="log-"):
        FileStore(root)
    assert {name: data for name, data in contents(root).items() if ".index" not in name} == {
        name: data for name, data in before.items() if ".index" not in name
    }


@pytest.mark.parametrize("number", [0, 3, -2, -1])
def test_a_missing_segment_is_reported(segmented, number):
    root, _ = segmented
    segments(root)[number].unlink()
    before = contents(root)
    with pytest.raises(CorruptStore, match="missing"):
        FileStore(root)
    assert contents(root) == before


def test_segments_whose_making_was_interrupted_do_no_harm(segmented):
    root, before = segmented
    last = len(before)
    (root / f"log-{last + 1:020}.jsonl").touch()  # made, and nothing written to it
    wide = next(path for path in segments(root) if path.read_bytes().count(b"\n") > 1)
    stray = root / f"log-{first_position(wide) + 1:020}.jsonl"
    stray.touch(exist_ok=False)  # made, then a smaller write went to the one before
    found, _ = reopened(root)
    assert found == before
    assert not stray.exists()


@pytest.mark.parametrize(
    "content", [b"hello\n", b"{}\n", b'[{"crc":"', b"\x89PNG\r\n", b'{"crc":1}']
)
def test_a_file_that_is_no_log_is_refused_and_kept(tmp_path, content):
    path = tmp_path / "log-00000000000000000001.jsonl"
    path.write_bytes(content)
    with pytest.raises(CorruptStore, match="line 1, is not a line of a log"):
        FileStore(tmp_path)
    assert path.read_bytes() == content


def test_a_folder_of_something_else_is_refused_and_kept(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreUnavailable, match=r"not a file store: it holds 'notes.txt'"):
        FileStore(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_strange_files_beside_a_log_are_left_alone(written):
    root, before = written
    (root / "notes.txt").write_text("mine")
    (root / "log-1.jsonl").write_text("mine too")
    assert reopened(root)[0] == before
    assert (root / "notes.txt").read_text() == "mine"


def test_a_root_that_is_a_file_is_refused(tmp_path):
    path = tmp_path / "file"
    path.write_text("mine")
    for root in (path, path / "below"):
        with pytest.raises(StoreUnavailable, match="is a file"):
            FileStore(root)
    assert path.read_text() == "mine"


def test_a_root_is_made_with_the_folders_above_it(tmp_path):
    store = FileStore(str(tmp_path / "a" / "b" / "c"))
    add(store, STREAM, 0, "x")
    store.close()
    assert reopened(tmp_path / "a" / "b" / "c")[0] == [(STREAM, 1, "x")]


@pytest.mark.parametrize("size", [0, -1, 1.5, "big", None])
def test_a_segment_size_that_makes_no_sense_is_refused(tmp_path, size):
    with pytest.raises(ValueError, match="segment_bytes"):
        FileStore(tmp_path / "never", segment_bytes=size)
    assert not (tmp_path / "never").exists()
