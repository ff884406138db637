"""What other threads see of a consumer, and wait for."""

import threading
import time

import pytest
from support import eventually, run_threads

from eskernel.projections.view import Rebuild, Status, View, _Waiter


def waiting(view, position, seconds=20.0):
    """Start a thread that waits; return the answers it gets."""
    answers = []
    thread = threading.Thread(
        target=lambda: answers.append(view.wait_for(position, seconds)), daemon=True
    )
    before = len(view._waiters)
    thread.start()
    eventually(lambda: len(view._waiters) > before or answers)
    return answers


def test_a_position_that_was_reached_is_not_waited_for():
    view = View(7)
    assert view.wait_for(7, 0)
    assert view.wait_for(3, 0)
    view.become(Status.STOPPED)
    assert view.wait_for(7, 0)


def test_who_waits_hears_of_the_position_at_once():
    view = View()
    answers = waiting(view, 5)
    view.reach(4)
    assert not answers
    begun = time.monotonic()
    view.reach(5)
    eventually(lambda: answers)
    assert answers == [True]
    assert time.monotonic() - begun < 5
    assert view._waiters == []


def test_who_waits_too_long_is_told_so():
    view = View()
    begun = time.monotonic()
    assert not view.wait_for(5, 0.02)
    assert time.monotonic() - begun >= 0.02
    assert not view.wait_for(5, 0)
    assert view._waiters == []


@pytest.mark.parametrize("status", [Status.STOPPED, Status.ENDED])
def test_who_waits_in_vain_is_told_at_once(status):
    view = View()
    answers = waiting(view, 5)
    view.become(status, ValueError())
    eventually(lambda: answers)
    assert answers == [False]
    assert not view.wait_for(5, 20)


@pytest.mark.parametrize(
    "status", [Status.RETRYING, Status.LIVE, Status.FOLLOWING, Status.REBUILDING]
)
def test_any_other_status_lets_them_wait_on(status):
    view = View()
    answers = waiting(view, 5)
    view.become(status, ValueError())
    assert view.error is not None
    assert not answers
    view.reach(9)
    eventually(lambda: answers)
    assert answers == [True]


def test_a_wake_up_that_was_lost_is_made_good(monkeypatch):
    view = View()
    answers = waiting(view, 5)
    view.position = 5  # as when an interruption takes `reach` away before it tells anybody
    eventually(lambda: answers)
    assert answers == [True]


def test_one_who_was_taken_away_while_he_waited_is_forgotten():
    view = View()
    view._waiters.append(_Waiter(5))
    view.reach(4)
    assert view.is_awaited
    view.reach(5)
    assert not view.is_awaited


def test_who_begins_to_wait_says_so():
    view, urged = View(), []
    view.urge = lambda: urged.append(view.is_awaited)
    view.wait_for(0, 0)
    assert urged == []
    view.wait_for(1, 0)
    assert urged == [True]
    assert not view.is_awaited


def test_many_wait_for_many_positions():
    view = View()
    seen = []

    def wait(position):
        assert view.wait_for(position, 20)
        assert view.position >= position
        seen.append(position)

    def move():
        for position in range(1, 501):
            view.reach(position)

    run_threads(move, *(lambda one=one: wait(one) for one in range(5, 500, 25)))
    assert len(seen) == 20
    assert view._waiters == []


def test_a_position_falls_only_when_it_is_said_to():
    view = View()
    view.reach(9)
    view.reach(4)
    assert view.position == 4
    assert not view.wait_for(9, 0)


def test_a_rebuild_tells_how_much_is_done():
    assert Rebuild(5, 20).share == 0.25
    assert Rebuild(25, 20).share == 1.0
    assert Rebuild(0, 0).share == 1.0
