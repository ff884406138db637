"""The portal: threads wait for coroutines, whatever becomes of either."""

import asyncio
import ctypes
import os
import random
import signal
import threading
from contextlib import suppress

import pytest
from support import eventually, new_seed, run_threads

from eskernel.errors import StoreUnavailable
from eskernel_stores.jetstream.connecting.portal import Portal


class Interruption(BaseException):
    pass


async def returned(value):
    await asyncio.sleep(0)
    return value


async def failed(error):
    raise error


async def nothing():
    pass


@pytest.fixture
def portal():
    portal = Portal()
    yield portal
    portal.close(nothing)


def test_many_threads_get_what_they_wait_for(portal):
    def ask(number):
        for turn in range(50):
            assert portal.run(returned, (number, turn)) == (number, turn)

    run_threads(*(lambda number=number: ask(number) for number in range(8)))


def test_errors_reach_who_waits(portal):
    with pytest.raises(LookupError, match="here"):
        portal.run(failed, LookupError("here"))


@pytest.fixture
def interrupting():
    """Has signals interrupt the main thread, and returns what has one sent to it."""

    def interrupt(*_):
        raise Interruption

    before = signal.signal(signal.SIGUSR1, interrupt)
    yield lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.stress
def test_who_is_interrupted_cancels_what_it_waited_for_and_nothing_else(portal, interrupting):
    cancelled = threading.Event()

    async def wait():
        interrupting()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with pytest.raises(Interruption):
        portal.run(wait)
    assert cancelled.wait(5)
    assert portal.run(returned, 1) == 1
    eventually(lambda: not portal._awaited)


@pytest.mark.stress
def test_who_is_interrupted_at_any_moment_leaves_the_rest_to_go_on(portal):
    chance = random.Random(new_seed())
    over = threading.Event()
    turns = []

    def ask():
        while not over.is_set():
            try:
                turns.append(portal.run(returned, 1))
            except Interruption:
                turns.append(0)

    threads = [threading.Thread(target=guarded, args=(ask,), daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(300):
        victim = chance.choice(threads)
        if victim.is_alive():
            interrupt(victim)
        assert portal.run(returned, 2) == 2
    over.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert 1 in turns
    assert portal.run(returned, 3) == 3


def guarded(function):
    """Run a function; an exception that comes before or after it is nobody's."""
    with suppress(Interruption):
        function()


def interrupt(thread):
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident), ctypes.py_object(Interruption)
    )


def test_closing_answers_whoever_waits(monkeypatch):
    monkeypatch.setattr("eskernel_stores.jetstream.connecting.portal._GRACE", 0.05)
    portal = Portal()
    begun = threading.Event()
    answers = []

    async def wait():
        begun.set()
        await asyncio.Event().wait()

    def ask():
        with pytest.raises(StoreUnavailable, match="closed") as refused:
            portal.run(wait)
        answers.append(refused.value.outcome_unknown)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    assert begun.wait(5)
    portal.close(nothing)
    portal.close(nothing)
    thread.join(5)
    assert answers == [True]
    with pytest.raises(StoreUnavailable, match="the store is closed; open it again") as refused:
        portal.run(returned, 1)
    assert not refused.value.outcome_unknown
    assert not portal._thread.is_alive()


def test_closing_waits_for_what_is_under_way():
    portal = Portal()
    begun, go = threading.Event(), threading.Event()
    order = []

    async def work():
        begun.set()
        while not go.is_set():
            await asyncio.sleep(0.001)
        order.append("done")
        return 1

    async def farewell():
        order.append("farewell")

    thread = threading.Thread(target=lambda: order.append(portal.run(work)), daemon=True)
    thread.start()
    assert begun.wait(5)
    closing = threading.Thread(target=portal.close, args=(farewell,), daemon=True)
    closing.start()
    eventually(lambda: portal._closed)
    with pytest.raises(StoreUnavailable, match="closed"):
        portal.run(returned, 1)
    again = threading.Thread(target=portal.close, args=(farewell,), daemon=True)
    again.start()
    portal._loop.call_soon_threadsafe(go.set)
    for one in (closing, again, thread):
        one.join(5)
        assert not one.is_alive()
    assert order.index("done") < order.index("farewell")
    assert 1 in order


def test_closing_while_many_ask_leaves_nobody_waiting():
    for _ in range(20):
        portal = Portal()

        def ask(portal=portal):
            with pytest.raises(StoreUnavailable, match="closed"):
                while True:
                    portal.run(returned, 1)

        run_threads(*[ask] * 3, lambda portal=portal: portal.close(nothing))


def test_farewell_is_said_once_before_the_rest_is_cancelled():
    portal = Portal()
    said = []

    async def farewell():
        await asyncio.sleep(0)
        said.append(len(asyncio.all_tasks()))

    portal.run(returned, 1)
    portal.close(farewell)
    portal.close(farewell)
    assert said == [1]


def test_nobody_waits_on_the_loops_own_thread(portal):
    async def ask():
        portal.run(returned, 1)

    with pytest.raises(RuntimeError, match="must not use the store"):
        portal.run(ask)


def test_it_can_be_closed_on_the_loops_own_thread():
    portal = Portal()
    portal._loop.call_soon_threadsafe(portal.close, nothing)
    eventually(lambda: not portal._thread.is_alive())
    with pytest.raises(StoreUnavailable, match="closed"):
        portal.run(returned, 1)


def test_in_a_forked_child_it_says_so_and_the_parents_goes_on(portal):
    pid = os.fork()
    if not pid:
        try:
            portal.run(returned, 1)
        except StoreUnavailable as error:
            portal.close(nothing)
            os._exit(0 if "forked" in str(error) else 1)
        finally:
            os._exit(2)
    assert os.waitpid(pid, 0)[1] == 0
    assert portal.run(returned, 1) == 1
