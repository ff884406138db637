"""One FileStore, in one process, has a folder at a time."""

import gc
import os
import signal

import pytest
from file_store_helpers import STREAM, add, log, payloads, python

from eskernel.errors import StoreUnavailable
from eskernel_stores.file import FileStore

HOLD = """
import sys
from eskernel_stores.file import FileStore
store = FileStore(sys.argv[1])
print("open", flush=True)
sys.stdin.read()
"""


def test_a_second_process_is_refused_and_told_which_one_is_first(tmp_path):
    with python(HOLD, tmp_path) as holder:
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(StoreUnavailable, match=f"open in process {holder.pid}"):
            FileStore(tmp_path)
        holder.stdin.close()
        holder.wait(10)
    FileStore(tmp_path).close()


def test_a_killed_process_leaves_no_lock(tmp_path):
    with python(HOLD, tmp_path) as holder:
        assert holder.stdout.readline() == "open\n"
        holder.send_signal(signal.SIGKILL)
        holder.wait(10)
    FileStore(tmp_path).close()


def test_a_second_store_in_the_same_process_is_refused(tmp_path):
    store = FileStore(tmp_path)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match=f"open in process {os.getpid()}"):
            FileStore(tmp_path)
    add(store, STREAM, 0, "still works")
    store.close()
    FileStore(tmp_path).close()


def test_a_store_that_nobody_refers_to_any_more_lets_go(tmp_path):
    store = FileStore(tmp_path)
    del store
    gc.collect()
    FileStore(tmp_path).close()


def test_a_store_that_cannot_be_opened_lets_go(tmp_path):
    (tmp_path / "log-00000000000000000001.jsonl").write_text("no log")
    for _ in range(2):
        with pytest.raises(Exception, match="not a line of a log"):
            FileStore(tmp_path)
    (tmp_path / "log-00000000000000000001.jsonl").write_text("")
    FileStore(tmp_path).close()


def in_a_child(function):
    """Run a function in a forked child and return what it says about itself."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            said = function() or "done"
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        said = file.read()
    os.waitpid(pid, 0)
    return said


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_in_a_forked_child_the_store_refuses_and_closing_does_nothing(tmp_path):
    store = FileStore(tmp_path)
    add(store, STREAM, 0, "one")
    for use in (
        lambda: add(store, STREAM, 1, "lost"),
        lambda: payloads(store),
        store.last_position,
        lambda: store.load_latest(STREAM),
    ):
        assert f"was opened by process {os.getpid()} before a fork" in in_a_child(use)
    assert in_a_child(store.close) == "done"
    with pytest.raises(StoreUnavailable, match="open in process"):
        FileStore(tmp_path)
    add(store, STREAM, 1, "two")
    assert payloads(store) == ["one", "two"]
    store.close()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_forked_child_does_not_hold_the_lock_longer_than_its_parent(tmp_path):
    store = FileStore(tmp_path)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    add(store, STREAM, 0, "one")
    store.close()
    again = FileStore(tmp_path)
    assert log(again) == [(STREAM, 1, "one")]
    again.close()
    os.close(writing)
    os.waitpid(pid, 0)
    os.close(reading)


def test_a_closed_store_says_so(tmp_path):
    store = FileStore(tmp_path)
    add(store, STREAM, 0, "one")
    store.close()
    store.close()
    for use in (
        lambda: add(store, STREAM, 1, "lost"),
        lambda: store.append_batch([]),
        lambda: payloads(store),
        lambda: log(store),
        store.last_position,
        lambda: store.load_latest(STREAM),
    ):
        with pytest.raises(StoreUnavailable, match="is closed"):
            use()
