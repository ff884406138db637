"""Subscriptions of a kernel: iterators and callbacks, with and without a name."""

import threading
import time
from contextlib import suppress
from itertools import islice, pairwise

import pytest
from kernel_helpers import TYPE, Gate, ProbedStore, Tally, add, command
from support import eventually, run_threads

from domains import order
from eskernel import Command
from eskernel.actors.bell import Bell
from eskernel.actors.supervision import stop_and_wait
from eskernel.errors import (
    InvalidProjection,
    KernelStopped,
    NotProjected,
    ProjectionBusy,
    StoreUnavailable,
)
from eskernel.projections.view import Status


class CountingStore(ProbedStore):
    """Counts the events it hands to those who fold its log."""

    def __init__(self, **options):
        super().__init__(**options)
        self.handed = 0

    def fold_all(self, function, initial, *arguments, **options):
        def counting(accumulator, event):
            self.handed += 1
            return function(accumulator, event)

        return super().fold_all(counting, initial, *arguments, **options)


@pytest.fixture(params=["immediate", "deferred"])
def store(request):
    return CountingStore(immediate=request.param == "immediate")


def numbers(events):
    return [event.payload["n"] for event in events]


def all_there_is(subscription):
    return [event.position for event in iter(lambda: subscription.next(0), None)]


def typed(type, n, aggregate_id="a", aggregate_type=TYPE):
    return Command(aggregate_type, aggregate_id, "return", {"type": type, "n": n})


def actor_of(kernel, name):
    nodes = [kernel.tree()]
    while nodes:
        node = nodes.pop()
        if node.name == name:
            return node.ref
        nodes.extend(node.children)
    return None


# Iterators.


def test_an_iterator_catches_up_and_then_follows(start):
    kernel = start()
    for n in range(3):
        kernel.dispatch(add(n=n))
    with kernel.subscribe() as subscription:
        assert numbers(islice(subscription, 3)) == [0, 1, 2]
        got = []
        run_threads(
            lambda: got.extend(islice(subscription, 20)),
            lambda: [kernel.dispatch(add(f"of {n % 3}", n)) for n in range(20)],
        )
        assert numbers(got) == [*range(20)]
        assert subscription.position == 23
        assert subscription.acknowledged == 2  # this thread has not asked for another


def test_an_iterator_passes_over_what_is_not_asked_for(start):
    kernel = start(domains={TYPE: Tally(), "other": Tally()})
    for n, kind in enumerate("abab"):
        kernel.dispatch(typed(kind, n))
        kernel.dispatch(typed(kind, n, aggregate_type="other"))
    assert all_there_is(kernel.subscribe(types={"b"})) == [3, 4, 7, 8]
    assert all_there_is(kernel.subscribe(aggregate_types={"other"})) == [2, 4, 6, 8]
    assert all_there_is(kernel.subscribe(types=["b"], aggregate_types=["other"])) == [4, 8]
    assert all_there_is(kernel.subscribe(types={"a"}, from_position=2, name="b's")) == [5, 6]


def test_a_callback_passes_over_what_is_not_asked_for(start):
    kernel = start(domains={TYPE: Tally(), "other": Tally()})
    got = []
    options = {"types": {"b"}, "aggregate_types": {"other"}, "from_position": 4}
    subscription = kernel.subscribe(lambda event: got.append(event.position), **options)
    for n, kind in enumerate("abab"):
        kernel.dispatch(typed(kind, n))
        kernel.dispatch(typed(kind, n, aggregate_type="other"))
    subscription.wait_for(8)
    assert got == [8]


def test_payloads_arrive_as_the_domain_declares_them(start, store):
    kernel = start(domains={"order": order})
    kernel.dispatch(Command("order", "o-1", "place", {"customer": "Ada"}))
    got = []
    kernel.subscribe(got.append).wait_for(1)
    payloads = [one.next(5).payload for one in (kernel.subscribe(), kernel.subscribe(name="n"))]
    assert payloads == [got[0].payload] * 2
    assert type(payloads[0]) is order.Placed


def test_from_the_last_position_only_what_comes_is_handed_out(start, store):
    kernel = start()
    kernel.dispatch(add(n=1))
    got = []
    iterator = kernel.subscribe(from_position=store.last_position())
    callback = kernel.subscribe(got.append, from_position=store.last_position())
    assert iterator.next(0) is None
    kernel.dispatch(add(n=2))
    assert numbers([iterator.next(5)]) == [2]
    callback.wait_for(2)
    assert numbers(got) == [2]


def test_a_slow_reader_keeps_a_page_in_memory_and_no_more(start, store):
    kernel = start()
    for _ in range(30):
        kernel.dispatch(command("add_all", [*range(100)]))
    subscription = kernel.subscribe()
    for n in range(1, 1501):
        next(subscription)
        assert store.handed - n < 500


# Callbacks.


def test_a_callback_gets_everything_in_order(start):
    kernel = start()
    got = []
    for n in range(50):
        kernel.dispatch(add(f"of {n % 3}", n))
    subscription = kernel.subscribe(got.append)
    for n in range(50, 200):
        kernel.dispatch(add(f"of {n % 3}", n))
    subscription.wait_for(200)
    assert numbers(got) == [*range(200)]
    assert [event.position for event in got] == [*range(1, 201)]
    eventually(lambda: subscription.status is Status.LIVE)
    assert (subscription.position, subscription.lag, subscription.error) == (200, 0, None)


@pytest.mark.parametrize("name", [None, "mailer"])
def test_an_actor_that_dies_in_the_middle_of_a_page_repeats_it_at_most(start, name):
    kernel = start()
    for _ in range(10):
        kernel.dispatch(command("add_all", [*range(100)]))
    got = []
    deaths = {7, 100, 555}

    def handle(event):
        got.append(event.position)
        if event.position in deaths:
            deaths.discard(event.position)
            raise SystemExit("in the middle of a page")

    subscription = kernel.subscribe(handle, name=name)
    subscription.wait_for(1000, timeout=20)
    assert not deaths
    assert sorted(set(got)) == [*range(1, 1001)]
    runs, begin = [], 0
    for index in range(1, len(got)):
        if got[index] != got[index - 1] + 1:
            runs.append(got[begin:index])
            assert got[index] <= got[index - 1] < got[index] + 1000  # a page has at most 1000
            begin = index
    assert [run[-1] for run in runs] == [7, 100, 555]


def test_an_actor_that_is_stopped_by_somebody_goes_on_without_a_repetition(start):
    kernel = start()
    got = []
    subscription = kernel.subscribe(lambda event: got.append(event.position), name="mailer")
    for n in range(5):
        done = kernel.dispatch(add(n=n))
        subscription.wait_for(done.position)
        stop_and_wait(actor_of(kernel, "subscription/mailer"), 5)
        eventually(lambda: actor_of(kernel, "subscription/mailer"))
    done = kernel.dispatch(add(n=9))
    subscription.wait_for(done.position)
    assert got == [*range(1, 7)]


def test_a_callback_that_hangs_holds_up_nobody_else_and_fills_no_memory(start, store):
    kernel = start()
    others = []
    with Gate() as gate:
        hanging = kernel.subscribe(lambda _event: gate())
        other = kernel.subscribe(others.append)
        kernel.dispatch(add(n=0))
        gate.wait()
        handed = store.handed
        begun = time.monotonic()
        for n in range(1, 20):
            kernel.dispatch(command("add_all", [n] * 100), timeout=5)
        assert time.monotonic() - begun < 10
        other.wait_for(1901, timeout=10)
        assert len(others) == 1901
        assert store.handed - handed <= 1901  # the other's: nothing waits for the one that hangs
        assert hanging.position == 0
    hanging.wait_for(1901, timeout=10)


def test_without_a_hint_it_takes_the_poll_interval_at_most(start, monkeypatch):
    monkeypatch.setattr(Bell, "ring", lambda _self: None)
    kernel = start()
    arrived = []
    callback = kernel.subscribe(lambda _event: arrived.append(time.monotonic()), poll_interval=0.2)
    eventually(lambda: callback.status is Status.LIVE)
    for n in range(1, 4):
        begun = time.monotonic()
        kernel.dispatch(add(n=n))
        callback.wait_for(n)
        assert arrived[-1] - begun < 0.2 + 0.3
    with kernel.subscribe(from_position=3) as iterator:
        assert iterator.next(0) is None
        begun = time.monotonic()
        run_threads(lambda: iterator.next(5), lambda: kernel.dispatch(add(n=4)))
        assert time.monotonic() - begun < 0.1 + 0.3


def test_a_hint_spares_the_poll_interval(start):
    kernel = start()
    callback = kernel.subscribe(lambda _event: None, poll_interval=60)
    for n in range(1, 4):
        eventually(lambda: callback.status is Status.LIVE)
        kernel.dispatch(add(n=n))
        callback.wait_for(n, timeout=5)


def test_a_callback_that_fails_is_called_again_and_at_last_stopped_before_the_event(start):
    kernel = start()
    tried = []

    def handle(event):
        tried.append((event.position, time.monotonic()))
        if event.position == 2:
            raise ZeroDivisionError("cannot")

    options = {"retries": 3, "first_retry": 0.02}
    subscription = kernel.subscribe(handle, name="mailer", **options)
    for n in range(3):
        kernel.dispatch(add(n=n))
    eventually(lambda: subscription.status is Status.STOPPED)
    assert isinstance(subscription.error, ZeroDivisionError)
    assert (subscription.position, subscription.lag) == (1, 2)
    with pytest.raises(NotProjected, match="has stopped before position 2"):
        subscription.wait_for(2, timeout=5)  # and does not wait for it
    assert [position for position, _ in tried] == [1, 2, 2, 2, 2]
    times = [when for _, when in tried[1:]]
    pauses = [after - before for before, after in pairwise(times)]
    assert all(pause >= 0.02 * 2**n * 0.75 for n, pause in enumerate(pauses))
    subscription.close()
    got = []
    mended = kernel.subscribe(lambda event: got.append(event.position), name="mailer")
    mended.wait_for(3)
    assert got == [2, 3]


def test_an_event_that_fails_for_good_is_parked_if_so_wanted(start):
    kernel = start()
    got = []

    def handle(event):
        if event.position % 2 == 0:
            raise ZeroDivisionError("cannot")
        got.append(event.position)

    options = {"on_failure": "park", "retries": 1, "first_retry": 0.001}
    subscription = kernel.subscribe(handle, **options)
    for n in range(5):
        kernel.dispatch(add(n=n))
    subscription.wait_for(5)
    assert got == [1, 3, 5]
    eventually(lambda: [one.position for one in subscription.parked] == [2, 4])
    assert {one.attempts for one in subscription.parked} == {2}
    assert "ZeroDivisionError: cannot" in subscription.parked[0].error


def test_a_callback_may_dispatch(start):
    kernel = start()

    def double(event):
        if event.stream_id[1] == "a":
            kernel.dispatch(add("doubled", 2 * event.payload["n"]))

    subscription = kernel.subscribe(double)
    for n in range(20):
        kernel.dispatch(add("a", n))
    eventually(lambda: kernel.state_of(TYPE, "doubled")[0]["count"] == 20)
    assert kernel.state_of(TYPE, "doubled")[0]["total"] == 2 * sum(range(20))
    subscription.wait_for(40)


def test_a_callback_may_close_its_subscription_and_is_not_called_again(start, store):
    kernel = start()
    kernel.dispatch(command("add_all", [*range(100)]))
    got = []
    made = threading.Event()

    def handle(event):
        assert made.wait(5)
        got.append(event.position)
        if event.position == 3:
            begun = time.monotonic()
            subscription.close()
            assert time.monotonic() - begun < 1

    subscription = kernel.subscribe(handle, name="mailer")
    made.set()
    eventually(lambda: subscription.status is Status.ENDED)
    assert got == [1, 2, 3]
    assert actor_of(kernel, "subscription/mailer") is None
    assert all_there_is(kernel.subscribe(name="mailer")) == [*range(4, 101)]


def test_after_close_a_callback_is_not_called(start):
    kernel = start()
    kernel.dispatch(command("add_all", [*range(1000)]))
    got = []
    subscription = kernel.subscribe(lambda event: (got.append(event.position), time.sleep(0.001)))
    eventually(lambda: got)
    subscription.close()
    subscription.close()
    called = len(got)
    assert called < 1000
    kernel.dispatch(add())
    with pytest.raises(ProjectionBusy, match="was closed; subscribe again"):
        subscription.wait_for(1001, timeout=0.05)
    with pytest.raises(ProjectionBusy, match="was closed; subscribe again"):
        subscription.retry(1)
    assert (len(got), subscription.status) == (called, Status.ENDED)


def test_a_callback_goes_on_where_it_has_stopped_and_with_what_it_has_parked(start):
    kernel = start()
    kernel.dispatch(command("add_all", [1, 2, 3]))
    got, broken = [], {2}

    def handle(event):
        if event.position in broken:
            raise ValueError("not now")
        got.append(event.position)

    stopping = kernel.subscribe(handle, retries=0)
    eventually(lambda: stopping.status is Status.STOPPED)
    assert "at position 2" in stopping.error.__notes__[0]
    broken.clear()
    stopping.resume()
    stopping.wait_for()
    assert got == [1, 2, 3]
    broken.add(2)
    parking = kernel.subscribe(handle, retries=0, on_failure="park")
    parking.wait_for()
    assert [one.position for one in parking.parked] == [2]
    with pytest.raises(ValueError, match="not now"):
        parking.retry(2)
    broken.clear()
    parking.retry(2)
    assert (got[3:], parking.position) == ([1, 3, 2], 3)
    eventually(lambda: parking.parked == ())
    with pytest.raises(LookupError, match="no event parked at position 2"):
        parking.discard(2)


def test_a_callback_that_hangs_is_left_behind_when_it_is_closed(start, monkeypatch):
    monkeypatch.setattr("eskernel.actors.consuming.registry._ANSWER_WITHIN", 0.1)
    kernel = start()
    kernel.dispatch(command("add_all", [1, 2]))
    called, got = [], []
    with Gate() as gate:
        subscription = kernel.subscribe(
            lambda event: (called.append(event), gate()), name="mailer", lease_seconds=0.3
        )
        gate.wait()
        subscription.close()
        assert subscription.status is Status.ENDED
        again = kernel.subscribe(name="mailer", lease_seconds=0.3)
        got = numbers(islice(again, 2))
    assert got == [1, 2]
    eventually(lambda: actor_of(kernel, "subscription/mailer") is None)
    assert numbers(called) == [1]


# The end of the kernel.


def test_stop_ends_iterators_and_callbacks(start):
    kernel = start()
    called = []
    iterators = [kernel.subscribe(), kernel.subscribe(name="one"), kernel.subscribe(name="two")]
    callback = kernel.subscribe(called.append)
    kernel.dispatch(add())
    callback.wait_for(1)
    got = []
    threads = [threading.Thread(target=lambda one=one: got.append([*one])) for one in iterators]
    for thread in threads:
        thread.start()
    eventually(lambda: all(one.position == 1 for one in iterators))
    assert kernel.stop()
    for thread in threads:
        thread.join(5)
    assert [len(events) for events in got] == [1, 1, 1]
    assert all(one.closed and one.next(5) is None for one in iterators)
    assert callback.status is Status.ENDED
    with pytest.raises(KernelStopped):
        callback.wait_for(2, timeout=5)
    callback.close()
    for one in iterators:
        one.close()


def test_nobody_subscribes_to_a_kernel_that_is_not_running(start):
    kernel = start()
    kernel.stop()
    for arguments in ([], [print]):
        with pytest.raises(KernelStopped):
            kernel.subscribe(*arguments)


@pytest.mark.parametrize("_turn", range(10))
def test_whoever_subscribes_while_the_kernel_stops_is_ended_too(start, _turn):
    kernel = start()
    made = []

    def subscribe():
        with suppress(KernelStopped):
            while True:
                made.append(kernel.subscribe())

    def stop():
        eventually(lambda: len(made) > 3)
        kernel.stop()

    run_threads(subscribe, stop)
    assert all(one.closed for one in made)


# Names.


def test_a_callback_with_a_name_goes_on_after_a_restart(start, store):
    got = []
    for n in range(3):
        kernel = start()
        subscription = kernel.subscribe(lambda event: got.append(event.position), name="mailer")
        done = kernel.dispatch(add(n=n))
        subscription.wait_for(done.position)
        kernel.stop()
    assert got == [1, 2, 3]


def test_an_iterator_with_a_name_goes_on_after_a_restart(start):
    got = []
    for n in range(3):
        kernel = start()
        kernel.dispatch(add(n=n))
        got.append(all_there_is(kernel.subscribe(name="mailer")))
        kernel.stop()
    assert got == [[1], [2], [3]]


def test_a_name_may_be_an_iterators_and_then_a_callbacks_and_again_an_iterators(start):
    kernel = start()
    for n in range(4):
        kernel.dispatch(add(n=n))
    with kernel.subscribe(name="mailer", from_position=1) as iterator:
        assert all_there_is(iterator) == [2, 3, 4]
    got = []
    for turn in range(3):
        kernel.dispatch(add(n=turn))
        position = 5 + 2 * turn
        with kernel.subscribe(lambda event: got.append(event.position), name="mailer") as callback:
            callback.wait_for(position)
        assert got[-1] == position
        kernel.dispatch(add(n=turn))
        with kernel.subscribe(name="mailer") as iterator:
            assert all_there_is(iterator) == [position + 1]
    assert got == [5, 7, 9]


def test_what_a_callback_has_parked_is_there_after_an_iterator_of_its_name(start):
    def fail(_event):
        raise ZeroDivisionError("cannot")

    kernel = start()
    kernel.dispatch(add())
    with kernel.subscribe(fail, name="mailer", on_failure="park", retries=0) as callback:
        callback.wait_for(1)
    kernel.dispatch(add())
    with kernel.subscribe(name="mailer") as iterator:
        assert all_there_is(iterator) == [2]
    with kernel.subscribe(fail, name="mailer", from_position=0) as callback:
        eventually(lambda: [one.position for one in callback.parked] == [1])


@pytest.mark.parametrize("first", [(), (print,)])
@pytest.mark.parametrize("second", [(), (print,)])
def test_within_a_kernel_a_name_is_used_once_at_a_time(start, first, second):
    kernel = start()
    taken = kernel.subscribe(*first, name="mailer")
    with pytest.raises(ValueError, match="has a subscription 'mailer' already: close that first"):
        kernel.subscribe(*second, name="mailer")
    kernel.subscribe(*second, name="another")
    taken.close()
    with kernel.subscribe(*second, name="mailer") as again:
        taken.close()  # twice, which is not the end of another one
        with pytest.raises(ValueError, match="already"):
            kernel.subscribe(name="mailer")
        assert not getattr(again, "closed", False)


def test_a_subscription_that_was_refused_leaves_its_name_free(start):
    kernel = start()
    with pytest.raises(ValueError, match="lease_seconds must be more than 0"):
        kernel.subscribe(name="mailer", lease_seconds=0)
    with pytest.raises(TypeError, match="no_such"):
        kernel.subscribe(print, name="mailer", no_such=1)
    kernel.subscribe(name="mailer").close()


def test_subscriptions_of_two_kernels_with_one_name_take_turns(start, store):
    first, second = start(), start()
    first.dispatch(command("add_all", [*range(10)]))
    ours = first.subscribe(name="mailer", lease_seconds=0.3)
    theirs = second.subscribe(name="mailer", lease_seconds=0.3)
    assert numbers(islice(ours, 4)) == [0, 1, 2, 3]
    assert theirs.next(0) is None
    ours.close()
    assert numbers(islice(theirs, 7)) == [3, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize(
    ("error", "message", "name"),
    [
        (TypeError, "name must be a string such as 'mailer', not 7", 7),
        (ValueError, "name must have 1 to", ""),
        (ValueError, "name must have 1 to 200 characters, not 201", "x" * 201),
        (ValueError, "must not contain NUL", "a\0b"),
        (ValueError, "must not contain lone surrogates", "\ud800"),
    ],
)
@pytest.mark.parametrize("callback", [(), (print,)])
def test_names_that_no_store_can_keep_are_refused(start, error, message, name, callback):
    with pytest.raises(error, match=message):
        start().subscribe(*callback, name=name)


@pytest.mark.parametrize("name", ["x", "x" * 200, "1", "#1", "a/b c'\"%;--\u00fc\U0001f600"])
def test_every_other_name_is_kept(start, name):
    kernel = start()
    kernel.dispatch(add())
    anonymous = kernel.subscribe(lambda _event: None)
    with kernel.subscribe(lambda _event: None, name=name) as callback:
        callback.wait_for(1)
    anonymous.wait_for(1)
    kernel.dispatch(add())
    assert all_there_is(kernel.subscribe(name=name)) == [2]


@pytest.mark.parametrize(
    ("error", "message", "callback", "options"),
    [
        (TypeError, "lease_seconds: not an option of an iterator", (), {"lease_seconds": 1}),
        (TypeError, "retries: not an option", (), {"name": "n", "retries": 1}),
        (TypeError, "retry: not an option of a callback; it has store, ", (print,), {"retry": 1}),
        (TypeError, "module: not an option of a callback", (print,), {"module": 1}),
        (TypeError, "a callback must be a function", ("print",), {}),
        (TypeError, "types must be a set of strings", (), {"types": "added"}),
        (TypeError, "types must be a set of strings", (print,), {"types": "added"}),
        (TypeError, "aggregate_types must hold strings", (print,), {"aggregate_types": [1]}),
        (ValueError, "from_position must be at least 0", (print,), {"from_position": -1}),
        (TypeError, "from_position must be a whole", (), {"from_position": "1"}),
        (ValueError, "retries must be a whole number", (print,), {"retries": -1}),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(start, error, message, callback, options):
    with pytest.raises(error, match=message):
        start().subscribe(*callback, **options)


class BareStore:
    """A store that keeps events and nothing else."""

    def __init__(self, store):
        for method in ("append", "fold", "fold_all", "last_position", "close"):
            setattr(self, method, getattr(store, method))


def test_a_name_needs_a_store_of_checkpoints(start, store):
    kernel = start(event_store=BareStore(store))
    for callback in ((), (print,)):
        with pytest.raises(InvalidProjection, match="keeps no checkpoints"):
            kernel.subscribe(*callback, name="mailer")
    kernel.dispatch(add())
    assert all_there_is(kernel.subscribe()) == [1]
    kept = start(event_store=BareStore(store), checkpoint_store=store)
    assert all_there_is(kept.subscribe(name="mailer")) == [1]
    assert store.load_checkpoint("subscription/mailer") is not None


def test_a_store_that_is_gone_delays_the_end_of_a_kernel_and_fails_nothing(start, store):
    kernel = start()
    kernel.dispatch(add())
    subscription = kernel.subscribe(name="mailer")
    assert all_there_is(subscription) == [1]

    def gone(*_):
        raise StoreUnavailable("gone")

    store.save_checkpoints = store.release_lease = gone
    assert kernel.stop()
    del store.save_checkpoints, store.release_lease
    assert subscription.closed
