"""Checkpoints of FileStore: files a person can read, replaced as a whole, and the truth."""

import errno
import os
import shutil
import signal

import pytest
from file_store_helpers import STREAM, add, python
from support import run_threads

from eskernel.codec import Codec
from eskernel.contracts import CheckpointStore
from eskernel.errors import CorruptStore, NotStorable, StaleEpoch, StoreUnavailable
from eskernel.testing.conformance.samples import IDENTIFIERS, PAYLOADS
from eskernel.values import Checkpoint
from eskernel_stores.file import FileStore

PACK = Codec().pack


@pytest.fixture
def store(tmp_path):
    opened = FileStore(tmp_path / "store")
    yield opened
    opened.close()


def made(position, state="state"):
    return Checkpoint(position, "v1", PACK({"balance": state}), PACK([position]))


def files(store):
    folder = store._root / "checkpoints"
    return sorted(folder.iterdir()) if folder.is_dir() else []


def texts(path):
    """Return a file's lines without their checksums."""
    return ["{" + line[18:] for line in path.read_text().splitlines()]


def failing(number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    return fail


def test_it_is_a_checkpoint_store(store):
    assert isinstance(store, CheckpointStore)


def test_a_checkpoint_file_can_be_read_by_a_person(store):
    bare = Checkpoint(9, "v2", b"")
    store.save_checkpoints("balances", 3, {"serving": made(8, "é"), "rebuilt": bare})
    (path,) = files(store)
    assert texts(path) == [
        '{"name":"balances","epoch":3,"slots":["serving","rebuilt"]}',
        (
            '{"name":"balances","slot":"serving","position":8,"version":"v1","epoch":3,'
            '"state":{"balance":"é"},"notes":[8]}'
        ),
        '{"name":"balances","slot":"rebuilt","position":9,"version":"v2","epoch":3}',
    ]


def test_a_lease_without_checkpoints_is_one_line(store):
    store.acquire_lease("balances", "first", 5)
    store.acquire_lease("balances", "first", 50)
    (path,) = files(store)
    assert texts(path) == ['{"name":"balances","epoch":1,"slots":[]}']


def test_renewing_and_giving_back_write_nothing(store, monkeypatch):
    store.acquire_lease("balances", "first", 5)
    monkeypatch.setattr(os, "write", failing(errno.EIO))
    assert store.acquire_lease("balances", "first", 5).epoch == 1
    store.release_lease("balances", "first")


def test_no_name_becomes_a_path(store):
    for name in IDENTIFIERS:
        store.save_checkpoints(name, 0, {name: made(1)})
    assert len(files(store)) == len(IDENTIFIERS)
    assert all(len(path.stem) == 64 and path.suffix == ".jsonl" for path in files(store))
    assert {path.name for path in store._root.parent.iterdir()} == {"store"}


def test_a_folder_of_checkpoints_alone_is_a_file_store(store):
    store.save_checkpoints("balances", 4, {"serving": made(8)})
    store.close()
    for path in store._root.iterdir():
        if path.name != "checkpoints":
            path.unlink()
    store = FileStore(store._root)
    assert store.load_checkpoint("balances") == made(8)._replace(epoch=4)
    store.close()


@pytest.mark.parametrize("line", [0, 1, 2])
@pytest.mark.parametrize("place", [0, 10, 20, 60, -2, -1])
def test_a_damaged_checkpoint_is_neither_guessed_nor_overwritten(store, line, place):
    store.save_checkpoints("balances", 4, {"a": made(1), "b": made(2)})
    (path,) = files(store)
    lines = [bytearray(line) for line in path.read_bytes().splitlines(keepends=True)]
    lines[line][place if place < len(lines[line]) else -3] ^= 1
    damaged = b"".join(lines)
    path.write_bytes(damaged)
    for slot in ("a", "b", "c"):
        with pytest.raises(CorruptStore, match=r"balances.*restore the file from a backup"):
            store.load_checkpoint("balances", slot)
    for slots in ({"a": made(3)}, {"a": made(3), "b": made(4)}, {"a": None, "b": None}):
        with pytest.raises(CorruptStore):
            store.save_checkpoints("balances", 5, slots)
    with pytest.raises(CorruptStore):
        store.acquire_lease("balances", "first", 5)
    assert path.read_bytes() == damaged


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [],
        lambda lines: lines[:-1],
        lambda lines: lines[1:],
        lambda lines: [lines[0], lines[2], lines[1]],
        lambda lines: [*lines, lines[1]],
        lambda lines: [*lines, b"{}\n"],
        lambda lines: [*lines[:2], lines[2][:-1]],
    ],
)
def test_lines_that_are_missing_or_mixed_up_are_damage(store, change):
    store.save_checkpoints("balances", 4, {"a": made(1), "b": made(2)})
    (path,) = files(store)
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))
    with pytest.raises(CorruptStore, match="balances"):
        store.load_checkpoint("balances", "a")


def test_a_file_of_another_name_is_damage(store):
    store.save_checkpoints("balances", 4, {"a": made(1)})
    (mine,) = files(store)
    store.save_checkpoints("totals", 4, {"a": made(2)})
    (other,) = {*files(store)} - {mine}
    shutil.copy(other, mine)
    with pytest.raises(CorruptStore, match=r"balances.*totals"):
        store.load_checkpoint("balances", "a")
    assert store.load_checkpoint("totals", "a") == made(2)._replace(epoch=4)


@pytest.mark.parametrize(("call", "number"), [("write", errno.ENOSPC), ("fdatasync", errno.EIO)])
def test_what_cannot_be_written_leaves_what_was_there(store, monkeypatch, call, number):
    store.save_checkpoints("balances", 1, {"a": made(1)})
    before = files(store)[0].read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing(number))
        for attempt in (
            lambda: store.save_checkpoints("balances", 2, {"a": made(2)}),
            lambda: store.acquire_lease("balances", "first", 5),
        ):
            with pytest.raises(StoreUnavailable, match="nothing was stored") as caught:
                attempt()
            assert not caught.value.outcome_unknown
    assert [path.read_bytes() for path in files(store)] == [before]
    assert store.acquire_lease("balances", "first", 5).epoch == 2
    store.save_checkpoints("balances", 2, {"a": made(2)})


def test_a_folder_that_is_not_synced_leaves_an_unknown_outcome(store, monkeypatch):
    epoch = store.acquire_lease("balances", "first", 50).epoch
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(errno.EIO))
        with pytest.raises(StoreUnavailable, match="may be stored") as caught:
            store.save_checkpoints("balances", epoch + 1, {"a": made(1)})
        assert caught.value.outcome_unknown
    with pytest.raises(StaleEpoch):  # readers may have seen the other
        store.save_checkpoints("balances", epoch, {"a": made(2)})
    lease = store.acquire_lease("balances", "first", 50)
    assert lease.epoch > epoch + 1


def test_a_process_killed_before_it_renames_leaves_the_old_and_no_lease_comes_twice(tmp_path):
    program = """
import os, signal, sys
from eskernel.values import Checkpoint
from eskernel_stores.file import FileStore
store = FileStore(sys.argv[1])
store.save_checkpoints("balances", 1, {"a": Checkpoint(1, "v1", b"\\x01"), "b": None})
from pathlib import Path
Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
store.save_checkpoints("balances", 2, {"a": None, "b": Checkpoint(2, "v1", b"\\x02")})
"""
    with python(program, tmp_path / "store") as process:
        out, _ = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL, out
    store = FileStore(tmp_path / "store")
    assert len(files(store)) == 2, "the draft is there"
    assert store.load_checkpoint("balances", "a") == Checkpoint(1, "v1", b"\x01", b"", 1)
    assert store.load_checkpoint("balances", "b") is None
    assert store.acquire_lease("balances", "first", 5).epoch == 2
    store.save_checkpoints("balances", 2, {"b": Checkpoint(2, "v1", b"\x02")})
    assert len(files(store)) == 1
    store.close()


def test_who_meets_the_close_writes_nothing(store):
    """The folder may be another process's by then."""
    store.save_checkpoints("balances", 1, {"a": made(1)})
    before = files(store)[0].read_bytes()
    checkpoints = store._checkpoints  # which passed the store's own check
    store.close()
    for call in (
        lambda: checkpoints.save("balances", 2, {"a": made(2)}),
        lambda: checkpoints.acquire("balances", "first", 5),
    ):
        with pytest.raises(StoreUnavailable, match="closed"):
            call()
    assert files(store)[0].read_bytes() == before


def test_a_closed_store_says_so(store):
    store.close()
    for call in (
        lambda: store.load_checkpoint("balances"),
        lambda: store.save_checkpoints("balances", 1, {}),
        lambda: store.acquire_lease("balances", "first", 5),
        lambda: store.release_lease("balances", "first"),
    ):
        with pytest.raises(StoreUnavailable, match="closed"):
            call()


def test_states_of_every_kind_come_back_as_the_same_bytes(store):
    for payload in PAYLOADS:
        store.save_checkpoints("a", 0, {"a": Checkpoint(1, "v", PACK(payload), PACK([payload]))})
        found = store.load_checkpoint("a", "a")
        assert (found.state, found.notes) == (PACK(payload), PACK([payload]))


def test_bytes_that_no_codec_packed_come_back_too(store):
    given = Checkpoint(1, "v", b"\xc1\xff\x00", b"\x81")
    store.save_checkpoints("a", 0, {"a": given})
    assert store.load_checkpoint("a", "a") == given


def test_appends_do_not_wait_for_checkpoints(store):
    with store._checkpoints._lock:
        run_threads(lambda: add(store, STREAM, 0, "x"))


@pytest.mark.parametrize("name", ["\ud800", "a\0b", 5, None])
def test_a_name_that_cannot_be_stored_is_refused(store, name):
    for call in (
        lambda: store.load_checkpoint(name),
        lambda: store.save_checkpoints(name, 1, {"a": made(1)}),
        lambda: store.save_checkpoints("a", 1, {name: made(1)}),
        lambda: store.acquire_lease(name, "first", 5),
        lambda: store.acquire_lease("a", name, 5),
    ):
        with pytest.raises(NotStorable):
            call()
    assert files(store) == []
