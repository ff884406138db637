"""Bookmark: what is known here of a lease and a position."""

import pytest

from eskernel.errors import StaleEpoch
from eskernel.subscriptions.bookmark import Bookmark
from eskernel.testing import ManualClock
from eskernel.values import Checkpoint
from eskernel_stores import MemoryStore

KEY = "subscription/mailer"


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def clock():
    return ManualClock()


def bookmark(store, clock, owner="me"):
    return Bookmark(store, KEY, owner, 6.0, clock, Checkpoint(7, "version", b"", b"notes"))


def test_a_lease_is_held_until_it_runs_out_by_this_clock(store, clock):
    mine = bookmark(store, clock)
    assert not mine.holds(1)
    mine.ask()
    assert (mine.epoch, mine.ask_at) == (1, 2.0)
    clock.advance(5.9)
    assert mine.holds(1)
    clock.advance(0.1)
    assert not mine.holds(1)


def test_the_time_for_which_the_store_was_asked_counts(store, clock):
    mine = bookmark(store, clock)
    acquire = store.acquire_lease
    store.acquire_lease = lambda *given: (clock.advance(6), acquire(*given))[1]
    mine.ask()
    assert mine.epoch == 1
    assert not mine.holds(1)


def test_a_lease_is_held_under_its_own_epoch_only(store, clock):
    mine = bookmark(store, clock)
    mine.ask()
    store.acquire_lease(KEY, "me", 0)
    store.acquire_lease(KEY, "other", 0)
    mine.ask()
    assert mine.holds(3)
    assert not mine.holds(1)


def test_while_another_has_it_it_is_asked_for_when_it_runs_out_or_at_a_third(store, clock):
    mine = bookmark(store, clock)
    store.acquire_lease(KEY, "other", 60)
    mine.ask()
    assert (mine.epoch, mine.ask_at) == (None, 2.0)
    store.acquire_lease(KEY, "other", 1)
    mine.ask()
    assert mine.epoch is None
    assert 0.5 < mine.ask_at <= 1.0


def test_the_start_is_stored_once(store, clock):
    mine = bookmark(store, clock)
    mine.ask()
    assert mine.load(1) == 7
    assert store.load_checkpoint(KEY) == Checkpoint(7, "version", b"", b"notes", 1)
    mine.save(1, 9)
    assert mine.position == 9
    assert bookmark(store, clock, "other").load(1) == 9


def test_a_save_that_comes_too_late_changes_nothing(store, clock):
    mine = bookmark(store, clock)
    mine.ask()
    mine.load(1)
    store.acquire_lease(KEY, "me", 0)
    store.acquire_lease(KEY, "other", 60)
    with pytest.raises(StaleEpoch):
        mine.save(1, 8)
    assert (mine.position, store.load_checkpoint(KEY).position) == (7, 7)


def test_what_is_not_held_is_not_given_back(store, clock):
    store.acquire_lease(KEY, "other", 60)
    mine = bookmark(store, clock)
    mine.release()
    mine.ask()
    mine.release()
    assert store.acquire_lease(KEY, "third", 60).owner == "other"
