"""Who follows the log is told that something was committed."""

from queue import Empty, SimpleQueue

import pytest
from support import run_threads

from eskernel.actors.bell import Bell, Listener


@pytest.fixture
def heard():
    return []


@pytest.fixture
def listener(heard):
    return Listener(lambda: heard.append(1))


def test_a_bell_without_listeners_may_ring(heard):
    Bell().ring()
    assert not heard


def test_a_listener_is_woken_once_until_it_has_looked(listener, heard):
    bell = Bell()
    bell.add(listener)
    bell.ring()
    bell.ring()
    assert heard == [1]
    listener.told = False
    bell.ring()
    assert heard == [1, 1]


def test_each_listener_is_told_and_one_that_is_removed_no_more(listener, heard):
    bell, others = Bell(), []
    other = Listener(lambda: others.append(1))
    bell.add(listener)
    bell.add(other)
    bell.remove(listener)
    bell.ring()
    assert (heard, others) == ([], [1])


def test_removing_who_does_not_listen_is_harmless(listener, heard):
    bell = Bell()
    bell.remove(listener)
    bell.add(listener)
    bell.remove(listener)
    bell.remove(listener)
    bell.ring()
    assert not heard


def test_it_is_said_when_listeners_come_and_go(listener):
    changes = []
    bell = Bell(lambda: changes.append(len(bell.listeners)))
    bell.add(listener)
    bell.remove(listener)
    assert changes == [1, 0]


def test_a_commit_after_the_look_is_never_missed():
    bell, told = Bell(), SimpleQueue()
    listener = Listener(lambda: told.put(None))
    bell.add(listener)
    log = []

    def commit():
        for number in range(3000):
            log.append(number)
            bell.ring()

    def follow():
        seen = 0
        while seen < 3000:
            try:
                told.get(timeout=5)
            except Empty:
                raise AssertionError(f"nobody was told after {seen}") from None
            listener.told = False
            seen = len(log)

    run_threads(commit, follow)


def test_listeners_may_come_and_go_while_it_rings():
    bell = Bell()

    def come_and_go():
        for _ in range(500):
            one = Listener(lambda: None)
            bell.add(one)
            bell.remove(one)

    run_threads(lambda: [bell.ring() for _ in range(3000)], come_and_go, come_and_go)
    assert bell.listeners == ()
