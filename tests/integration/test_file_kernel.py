"""A Kernel on FileStore: lines of group commits, and disks that fail."""

import json
from contextlib import closing

import pytest
from kernel_helpers import TYPE, Watch, add, dispatch_together

from eskernel.errors import StoreUnavailable
from eskernel_stores.file import FileStore


@pytest.fixture
def store(tmp_path):
    with closing(FileStore(tmp_path)) as store:
        yield store


def lines(root):
    """Return the log, line by line."""
    return [
        json.loads(line)
        for segment in sorted(root.glob("log-*.jsonl"))
        for line in segment.read_text().splitlines()
    ]


def test_commands_that_wait_are_lines_of_one_durable_write(start, store, tmp_path):
    watch, kernel = Watch(store), start()
    one = [add("one", number) for number in range(5)]
    others = [add(f"other {number}", 0) for number in range(5)]
    done = dispatch_together(kernel, watch, [*one, *others])
    assert [outcome.sequence for outcome in done] == [1, 2, 3, 4, 5, *[1] * 5]
    written = lines(tmp_path)
    assert [line["write"] for line in written] == [1, *[2] * 10]
    assert len({line["append"] for line in written}) == 11
    assert [line["sequence"] for line in written if line["stream"][1] == "one"] == [1, 2, 3, 4, 5]


def test_after_a_disk_failed_to_sync_dispatch_says_so_until_the_store_is_opened_again(
    start, store, tmp_path, monkeypatch
):
    kernel = start()
    kernel.dispatch(add("a", 0))

    def fail(_):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("os.fdatasync", fail)
        with pytest.raises(StoreUnavailable) as unknown:
            kernel.dispatch(add("a", 1, command_id="c-1"))
    assert unknown.value.outcome_unknown
    with pytest.raises(StoreUnavailable, match="open") as refused:
        kernel.dispatch(add("b", 1))
    assert not refused.value.outcome_unknown
    kernel.stop()
    store.close()
    with closing(FileStore(tmp_path)) as again:
        successor = start(event_store=again)
        assert successor.dispatch(add("a", 1, command_id="c-1")).sequence == 2
        assert successor.state_of(TYPE, "a")[1] == 2
        successor.stop()
