"""A copy goes on where it was, and is refused where it must be."""

from __future__ import annotations

import random

import pytest
from backends import BACKENDS
from copying_samples import append, assert_copied, fill, log_of, opener
from support import new_seed

from eskernel.errors import StoreUnavailable
from eskernel_stores import MemoryStore, copy_store

ACCOUNT = ("bank_account", "acc-1")
OTHER = ("bank_account", "acc-2")

opened = pytest.fixture(opener)


class Killed(BaseException):
    """The process ends here."""


def killed_after(appends, store):
    """Have a store's batches end after so many more appends, the last batch half stored."""
    write, left = store.append_batch, [appends]

    def append_batch(commits):
        kept = commits[: left[0]]
        left[0] -= len(kept)
        outcomes = write(kept)
        if len(kept) < len(commits):
            raise Killed
        return outcomes

    store.append_batch = append_batch
    return store


@pytest.mark.parametrize("kind", BACKENDS)
def test_a_copy_killed_anywhere_goes_on_where_it_was(kind, opened):
    rng = random.Random(new_seed())
    source, target = fill(MemoryStore()), opened(kind, "target")
    kills = copied = 0
    write, report = target.append_batch, None
    while report is None:
        target.append_batch = write
        try:
            report = copy_store(source, killed_after(rng.randrange(40), target), batch=25)
        except Killed:
            kills += 1
            copied = len(log_of(target))
            assert log_of(target) == log_of(source)[:copied]
    assert kills > 1
    assert report.already_there == copied
    assert_copied(source, target)


def test_appends_whose_outcome_was_unknown_are_not_made_twice():
    class Forgetful(MemoryStore):
        """Stores every batch, says it does not know, and shows it only later."""

        late = ()

        def append_batch(self, commits):
            if self.late is not None:
                self.late = [*commits]
                raise StoreUnavailable("no answer", outcome_unknown=True)
            return super().append_batch(commits)

    source, target = fill(MemoryStore()), Forgetful()
    with pytest.raises(StoreUnavailable):
        copy_store(source, target, batch=20)
    late, target.late = target.late, None
    assert target.last_position() == 0

    def land(stage, _):
        if stage == "copying" and target.last_position() == 0:
            target.append_batch(late)

    copy_store(source, target, batch=20, progress=land)
    assert_copied(source, target)


def test_append_ids_are_the_same_each_time_and_differ_from_each_other():
    found = []

    class Noting(MemoryStore):
        def append_batch(self, commits):
            found.extend(commit.append_id for commit in commits)
            return super().append_batch(commits)

    source = fill(MemoryStore())
    copy_store(source, Noting())
    first = found[:]
    found.clear()
    copy_store(source, Noting())
    assert found == first
    assert len(set(first)) == len(first)
    assert all(0 <= number < 2**128 for number in first)


def test_a_store_is_not_copied_into_itself():
    store = fill(MemoryStore())
    with pytest.raises(ValueError, match="one store"):
        copy_store(store, store)


@pytest.mark.parametrize("batch", [0, -1, 1.5, True, None])
def test_a_batch_of_no_events_is_refused(batch):
    with pytest.raises(ValueError, match="batch"):
        copy_store(MemoryStore(), MemoryStore(), batch=batch)


def test_what_is_no_store_is_refused():
    for stores in ((MemoryStore(), "sqlite:///bank.db"), ("memory:", MemoryStore())):
        with pytest.raises(TypeError, match="open_store"):
            copy_store(*stores)


TARGETS = {
    "another payload": ([(ACCOUNT, 7, {})], r"event 1 of the log.* has another payload in"),
    "another type of number": ([(ACCOUNT, True, {})], "another payload in"),
    "another timestamp": ([(ACCOUNT, 1, {"timestamp": 5})], "another timestamp in"),
    "several others": (
        [(ACCOUNT, 1, {"tags": ("x",), "command_id": "c"})],
        "another tags, command id in",
    ),
    "another stream": ([(OTHER, 1, {})], r"acc-1'\) in the source, but event 1 of .*acc-2'\) in"),
    "another order": (
        [(ACCOUNT, 1, {}), (ACCOUNT, 3, {})],
        r"event 2 of the log is event 1 of .*acc-2.* but event 2 of .*acc-1",
    ),
    "more": (
        [(ACCOUNT, 1, {}), (OTHER, 2, {}), (ACCOUNT, 3, {}), (OTHER, 4, {})],
        r"source's log ends before event 4, where the target has event 2 of stream .*acc-2",
    ),
}


@pytest.mark.parametrize(("events", "message"), TARGETS.values(), ids=TARGETS.keys())
def test_a_target_that_is_no_beginning_of_the_source_is_refused_and_left_alone(events, message):
    source, target = MemoryStore(), MemoryStore()
    for stream_id, payload in ((ACCOUNT, 1), (OTHER, 2), (ACCOUNT, 3)):
        append(source, stream_id, payload)
    for stream_id, payload, attributes in events:
        append(target, stream_id, payload, **attributes)
    before = log_of(target)
    with pytest.raises(ValueError, match=message) as caught:
        copy_store(source, target)
    assert "copy into an empty store" in str(caught.value)
    assert log_of(target) == before
