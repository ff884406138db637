"""MongoDB's change streams as hints: soon after appends of any process, and never needed."""

import threading

import pytest
import structlog
from store_helpers import OTHER, STREAM, append, logged, made, start_program
from support import eventually

from eskernel.contracts import HintingEventStore
from eskernel.errors import ConcurrencyConflict, StoreUnavailable


class Hints:
    """Counts its calls."""

    def __init__(self):
        self.number = 0

    def __call__(self):
        self.number += 1

    def after(self, act, timeout=10):
        """Do something, wait until it has been told of, and return how often that was."""
        before = self.number
        act()
        eventually(lambda: self.number > before, timeout)
        return self.number - before


@pytest.fixture
def store(mongo_url, open_mongo):
    return open_mongo(mongo_url)


def watchers():
    return [one for one in threading.enumerate() if one.name == "eskernel-watcher"]


def watching(store):
    """Return hints of a store that has begun to watch, and what ends them."""
    hints = Hints()
    stop = store.on_append(hints)
    eventually(lambda: hints.number)  # told once it watches
    return hints, stop


def test_it_is_a_store_that_gives_hints(store):
    assert isinstance(store, HintingEventStore)
    assert not watchers()


def test_appends_of_this_and_of_another_store_are_told_of(store, mongo_url, open_mongo):
    hints, _ = watching(store)
    hints.after(lambda: append(store, STREAM, "a"))
    other = open_mongo(mongo_url)
    hints.after(lambda: append(other, OTHER, "b"))


def test_who_reads_when_told_finds_what_was_appended(store, mongo_url, open_mongo):
    found = []
    store.on_append(lambda: found.append(logged(store)))
    eventually(lambda: found)
    other = open_mongo(mongo_url)
    for number in range(5):
        append(other, STREAM, number)
    eventually(lambda: found[-1] == [*range(5)])


def test_appends_elsewhere_are_not_told_of(store, mongo, open_mongo):
    hints, _ = watching(store)
    stranger = open_mongo(mongo.new_url())
    before = hints.number
    append(stranger, STREAM, "a")
    store.acquire_lease("name", "owner", 5)
    assert hints.after(lambda: append(store, STREAM, "a")) == 1
    assert hints.number == before + 1


def test_an_append_that_fails_tells_nobody(store):
    hints, _ = watching(store)
    before = hints.number
    with pytest.raises(ConcurrencyConflict):
        store.append(STREAM, made(STREAM, 7, "a"), expected_sequence=7)
    assert hints.after(lambda: append(store, STREAM, "a")) == 1
    assert hints.number == before + 1


def test_many_appends_share_hints(store, mongo_url, open_mongo):
    """Those that are made while one is told of are all told of at once."""
    told, go_on = threading.Semaphore(0), threading.Semaphore(0)

    def tell():
        told.release()
        go_on.acquire(timeout=10)

    store.on_append(tell)
    assert told.acquire(timeout=10)  # as soon as it watches
    other = open_mongo(mongo_url)
    for number in range(20):
        append(other, STREAM, number)
    go_on.release()
    assert told.acquire(timeout=10)
    append(other, OTHER, "last")
    go_on.release()
    assert told.acquire(timeout=10)
    go_on.release()
    assert not told.acquire(timeout=0.5), "more hints than were needed"


def test_who_has_stopped_is_not_told_any_more(store):
    first, stop_first = watching(store)
    second = Hints()
    stop_second = store.on_append(second)
    stop_first()
    stop_first()
    before = first.number
    second.after(lambda: append(store, STREAM, "a"))
    assert first.number == before
    stop_second()
    stop_second()
    eventually(lambda: not watchers())
    again, stop_again = watching(store)
    again.after(lambda: append(store, STREAM, "b"))
    stop_first()
    assert watchers()
    stop_again()
    eventually(lambda: not watchers())


def test_a_failing_watch_is_begun_again_and_tells_of_what_it_missed(mongo_to_kill, store):
    hints, _ = watching(store)
    before = hints.number
    with (
        structlog.testing.capture_logs() as logs,
        mongo_to_kill.failing("getMore", "aggregate", times=3, errorCode=8),
    ):
        eventually(lambda: hints.number > before)
    assert [one["event"] for one in logs] == ["hints_interrupted"]
    hints.after(lambda: append(store, STREAM, "a"))


def test_hints_survive_a_restart_of_the_server(mongo_to_kill, mongo_url, open_mongo):
    store = open_mongo(mongo_url, timeout=0.5)
    hints, _ = watching(store)
    hints.after(lambda: append(store, STREAM, "a"))
    mongo_to_kill.kill()
    before = hints.number
    with structlog.testing.capture_logs():
        with pytest.raises(StoreUnavailable):
            store.last_position()
        mongo_to_kill.start()
        eventually(lambda: hints.number > before, timeout=30)
    hints.after(lambda: append(store, STREAM, "b"), timeout=30)


def test_closing_ends_the_thread(store):
    _, stop = watching(store)
    store.close()
    assert not watchers()
    stop()
    store.close()
    store.on_append(Hints())()
    assert not watchers()


def test_the_store_can_be_closed_and_hints_stopped_by_who_is_told(store, mongo_url, open_mongo):
    closed = threading.Event()
    stops = []

    def tell():
        if stops:
            stops[0]()
            store.close()
            closed.set()

    stops.append(store.on_append(tell))
    append(open_mongo(mongo_url), STREAM, "a")
    assert closed.wait(10)
    eventually(lambda: not watchers())


def test_a_function_that_fails_keeps_others_from_nothing(store):
    def fail():
        raise ZeroDivisionError

    with structlog.testing.capture_logs() as logs:
        store.on_append(fail)
        hints, _ = watching(store)
        hints.after(lambda: append(store, STREAM, "a"))
    assert {one["event"] for one in logs} == {"hint_failed"}


def test_a_forked_child_has_nothing_of_its_parents_store(mongo_url):
    program = start_program(
        f"""
        import threading, warnings
        from eskernel_stores.mongo import MongoStore
        with closing(MongoStore({mongo_url!r})) as store:
            append(store, STREAM, "a")
            stop = store.on_append(lambda: None)
            store._chain._inserting.acquire()
            store._chain.streams.heads._lock.acquire()  # by other threads, as it were
            child = os.fork()
            if not child:
                store.on_append(lambda: None)()
                stop()
                errors = every_call_unavailable(store, 1)
                known = all("forked" in str(error) for error in errors)
                store.close()
                os._exit(threading.active_count() - 1 + 2 * (not known))
            store._chain.streams.heads._lock.release()
            store._chain._inserting.release()
            say(os.waitpid(child, 0)[1])
            append(store, STREAM, "b")
            say(logged(store))
        """
    )
    with program:
        out, errors = program.communicate(timeout=60)
    assert (out, errors, program.returncode) == ("0\n['a', 'b']\n", "", 0)


def test_a_server_in_no_replica_set_gives_no_hints_and_no_error(mongo_to_kill, store):
    with (
        structlog.testing.capture_logs() as logs,
        mongo_to_kill.failing("aggregate", errorCode=40573),  # what such a server says
    ):
        stop = store.on_append(Hints())
        eventually(lambda: not watchers())
    assert logs == []
    append(store, STREAM, "a")
    stop()
