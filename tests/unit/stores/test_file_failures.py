"""Disks that are full, fail or may not be written, and writers that are interrupted."""

import errno
import linecache
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from file_store_helpers import OTHER, STREAM, add, commit, contents, log, payloads, python, segments

from eskernel.errors import ConcurrencyConflict, StoreUnavailable
from eskernel.values import Snapshot
from eskernel_stores.file import FileStore


@pytest.fixture
def store(tmp_path):
    opened = FileStore(tmp_path / "store")
    add(opened, STREAM, 0, "a", append_id=1)
    yield opened
    opened.close()


def reopened(store, **options):
    store.close()
    return FileStore(store._root, **options)


def failing(error, after=0, only=None):
    """Return a function that fails, also after others of its kind went well."""
    calls = []

    def fail(*arguments):
        calls.append(arguments)
        if len(calls) > after:
            raise error
        return only(*arguments) if only else None

    return fail


IO_ERROR = OSError(errno.EIO, "Input/output error")
NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


def test_after_a_failed_sync_nothing_is_acknowledged_until_the_store_is_opened_again(
    store, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", failing(IO_ERROR))
        with pytest.raises(StoreUnavailable, match=r"may be stored.*open it again") as caught:
            add(store, STREAM, 1, "b", append_id=2)
        assert caught.value.outcome_unknown
    for number in range(2):
        with pytest.raises(StoreUnavailable, match=r"nothing was stored.*open it again") as caught:
            add(store, OTHER, 0, number)
        assert not caught.value.outcome_unknown
    assert log(store) == [(STREAM, 1, "a")]
    again = reopened(store)
    assert add(again, STREAM, 1, "b", append_id=2) == 2
    assert log(again) == [(STREAM, 1, "a"), (STREAM, 2, "b")]
    again.close()


def test_opening_writes_the_last_write_again_because_its_sync_may_have_failed(store, monkeypatch):
    store.append_batch([commit(OTHER, 0, "b"), commit(OTHER, 1, "c")])
    written, pwrite = [], os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda *a: (written.append(bytes(a[1])), pwrite(*a))[1])
    before = segments(store._root)[0].read_bytes()
    again = reopened(store)
    lines = before.splitlines(keepends=True)
    assert b"".join(lines[1:]) in written
    assert segments(store._root)[0].read_bytes() == before
    monkeypatch.setattr(os, "fsync", failing(IO_ERROR))
    with pytest.raises(StoreUnavailable, match="Input/output error"):
        reopened(again)


@pytest.mark.parametrize("part", [0, 1, 50])
def test_on_a_full_disk_nothing_is_stored_and_service_resumes_with_space(store, monkeypatch, part):
    before, write = contents(store._root), os.write

    def full(fd, data):
        if len(data) <= part or part == 0:
            raise NO_SPACE
        return write(fd, bytes(data[:part]))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match=r"No space left.*nothing was") as caught:
                store.append_batch([commit(STREAM, 1, "b" * 40), commit(OTHER, 0, "c")])
            assert not caught.value.outcome_unknown
            if part == 1:
                break
    assert contents(store._root) == before
    assert add(store, STREAM, 1, "b") == 2
    assert log(store) == [(STREAM, 1, "a"), (STREAM, 2, "b")]
    again = reopened(store)
    assert log(again) == [(STREAM, 1, "a"), (STREAM, 2, "b")]
    again.close()


def test_short_writes_are_continued(store, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, bytes(data[:7])))
    add(store, STREAM, 1, "b" * 100)
    again = reopened(store)
    assert payloads(again) == ["a", "b" * 100]
    again.close()


@pytest.mark.parametrize("broken", ["ftruncate", "fsync"])
def test_a_failed_write_that_cannot_be_taken_back_is_of_unknown_outcome(store, monkeypatch, broken):
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", failing(NO_SPACE, 1, lambda fd, data: write(fd, data[:20])))
        patch.setattr(os, broken, failing(IO_ERROR))
        with pytest.raises(StoreUnavailable, match=r"taken back.*open it again") as caught:
            add(store, STREAM, 1, "b", append_id=2)
        assert caught.value.outcome_unknown
    with pytest.raises(StoreUnavailable, match="nothing was stored") as caught:
        add(store, STREAM, 1, "b", append_id=2)
    assert not caught.value.outcome_unknown
    again = reopened(store)
    assert payloads(again) == ["a"]
    again.close()


def test_who_repeats_a_stored_append_never_hears_that_it_is_not_stored(store, monkeypatch):
    monkeypatch.setattr(os, "write", failing(NO_SPACE))
    with pytest.raises(StoreUnavailable) as caught:
        store.append_batch([commit(STREAM, 0, "a", append_id=1), commit(OTHER, 0, "b")])
    assert caught.value.outcome_unknown
    assert add(store, STREAM, 0, "a", append_id=1) == 1


@pytest.mark.parametrize("made", [False, True])
def test_a_segment_that_cannot_be_made_stops_one_append_or_all(tmp_path, monkeypatch, made):
    store = FileStore(tmp_path, segment_bytes=1)
    add(store, STREAM, 0, "a")
    with monkeypatch.context() as patch:
        if made:  # but the disk may not keep it
            patch.setattr(os, "fsync", failing(IO_ERROR))
        else:
            patch.setattr(os, "open", failing(NO_SPACE))
        with pytest.raises(StoreUnavailable, match="nothing was stored") as caught:
            add(store, STREAM, 1, "b")
        assert not caught.value.outcome_unknown
    if made:
        with pytest.raises(StoreUnavailable, match="open it again"):
            add(store, STREAM, 1, "b")
        store = reopened(store)
    add(store, STREAM, 1, "b")
    assert payloads(store) == ["a", "b"]
    store.close()


def test_an_index_that_cannot_be_stored_stops_nothing(tmp_path, monkeypatch):
    store = FileStore(tmp_path, segment_bytes=1)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", failing(NO_SPACE))
        for number in range(3):
            add(store, STREAM, number, number)
    assert [path.suffix for path in tmp_path.iterdir() if path.name != "lock"] == [".jsonl"] * 3
    store = reopened(store)
    assert payloads(store) == [0, 1, 2]
    assert len(list(tmp_path.glob("*.index"))) == 2
    store.close()


FILL = """
import resource, signal, sys
from eskernel.errors import StoreUnavailable
from eskernel.values import Event
from eskernel_stores.file import FileStore
root, limit = sys.argv[1], int(sys.argv[2])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
store, count, failures = FileStore(root), 0, 0
def append():
    event = Event(("a", "1"), count + 1, "t", "x" * 500)
    store.append(("a", "1"), [event], expected_sequence=count)
while failures < 3 and count < 10000:
    try:
        append()
        count += 1
    except StoreUnavailable as error:
        assert not error.outcome_unknown, error
        failures += 1
print(count, flush=True)
sys.stdin.readline()
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
append()
found = store.fold(("a", "1"), lambda n, event: n + 1, 0)
assert found == count + 1, (found, count)
store.close()
print("resumed", flush=True)
"""


def fill(root, limit, make_space):
    with python(FILL, root, limit) as process:
        count = int(process.stdout.readline())
        make_space()
        said, _ = process.communicate("\n", timeout=30)
        assert said == "resumed\n"
    store = FileStore(root)
    assert payloads(store, ("a", "1")) == ["x" * 500] * (count + 1)
    store.close()
    return count


def test_a_file_that_may_not_grow_loses_nothing_and_goes_on_when_it_may(tmp_path):
    assert 10 < fill(tmp_path / "store", 20_000, lambda: None) < 40


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_disk_that_is_full_loses_nothing_and_goes_on_with_space(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        ballast = disk / ".ballast"
        ballast.write_bytes(bytes(40_000))
        assert 10 < fill(disk / "store", 0, ballast.unlink) < 200
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


READ_ONLY = """
import os, sys
from eskernel.errors import StoreUnavailable
from eskernel_stores.file import FileStore
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
for root in sys.argv[1:]:
    try:
        FileStore(root)
    except StoreUnavailable as error:
        print(error)
"""


@pytest.fixture
def public_folder():
    """A folder that other users reach, which those of pytest are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def refusals(*roots):
    with python(READ_ONLY, *roots) as process:
        return process.communicate(timeout=30)[0].splitlines()


def test_what_may_not_be_written_is_refused_and_stays_as_it_is(public_folder):
    root = public_folder / "store"
    store = FileStore(root)
    add(store, STREAM, 0, "a")
    store.close()
    before = contents(root)
    modes = {root / "lock": 0o444, root: 0o555, segments(root)[0]: 0o444}
    for path, mode in modes.items():
        path.chmod(mode)
    for named, said in zip(
        (root / "lock", root / "new"), refusals(root, root / "new"), strict=True
    ):
        assert "cannot be opened: [Errno 13] Permission denied" in said
        assert str(named) in said
    (root / "lock").chmod(0o666)
    (said,) = refusals(root)
    assert f"Permission denied: '{segments(root)[0]}'" in said
    assert contents(root) == before
    root.chmod(0o755)


class Interruption(BaseException):
    """As KeyboardInterrupt, which the test runner would take for its own."""


def interrupted(store, commits, at):
    """Append, interrupted before the given line of the stores' own code is run."""
    lines = 0

    def trace(frame, event, _):
        nonlocal lines
        if "eskernel_stores" not in frame.f_code.co_filename or frame.f_code.co_name == "__del__":
            return None
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
        # A trace function's exceptions at a `try:` or when leaving a `with` skip __exit__;
        # asynchronous exceptions do not arrive at those places.
        if event == "line" and not line.startswith(("with ", "try:")):
            lines += 1
            if lines > at:
                sys.settrace(None)
                raise Interruption
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        return store.append_batch(commits)
    except Interruption:
        return None
    finally:
        sys.settrace(before)  # coverage's, perhaps


@pytest.mark.parametrize("segment_bytes", [1, 1 << 20])
def test_a_writer_interrupted_anywhere_leaves_all_or_nothing(tmp_path, monkeypatch, segment_bytes):
    monkeypatch.setattr(os, "fdatasync", lambda fd: None)
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    commits = [commit(STREAM, 1, "b", "c", append_id=2), commit(OTHER, 0, "d", append_id=3)]
    outcomes = set()
    for at in range(10_000):
        store = FileStore(tmp_path / str(at), segment_bytes=segment_bytes)
        add(store, STREAM, 0, "a", append_id=1)
        done = interrupted(store, commits, at)
        seen = len(log(store))
        assert seen in (1, 4)
        assert payloads(store) == ["a", "b", "c"][: 1 if seen == 1 else 3]
        if at % 2:
            store = reopened(store, segment_bytes=segment_bytes)
        third = add(store, ("third", "1"), 0, "e")
        assert store.append_batch(commits) in ([3, 4], [4, 5])
        assert len(log(store)) == 5
        assert log(store)[third - 1] == (("third", "1"), 1, "e")
        before = log(store)
        store = reopened(store, segment_bytes=segment_bytes)
        assert log(store) == before
        store.close()
        outcomes.add(seen)
        if done is not None:
            assert done == [3, 4]
            break
    assert outcomes == {1, 4}


def test_a_conflict_after_an_interruption_names_the_right_sequence(store):
    assert interrupted(store, [commit(STREAM, 1, "b")], 10**6) == [2]
    with pytest.raises(ConcurrencyConflict) as caught:
        add(store, STREAM, 1, "lost")
    assert caught.value.actual == 2


def test_a_snapshot_that_cannot_be_written_leaves_the_one_before(store, monkeypatch):
    store.store(Snapshot(STREAM, 1, "a"))
    before = contents(store._root)
    for name in ("write", "fdatasync"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, failing(NO_SPACE))
            with pytest.raises(StoreUnavailable, match="No space left"):
                store.store(Snapshot(STREAM, 2, "b"))
        assert contents(store._root) == before
        assert store.load_latest(STREAM) == Snapshot(STREAM, 1, "a")


def test_files_that_cannot_be_read_are_unavailable(store, monkeypatch):
    monkeypatch.setattr(os, "pread", failing(IO_ERROR))
    with pytest.raises(StoreUnavailable, match=r"log-0+1\.jsonl cannot be read"):
        log(store)
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        payloads(store)
