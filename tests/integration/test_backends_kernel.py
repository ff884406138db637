"""A Kernel on every durable store: group commit, snapshots, and races with other stores."""

import threading

import pytest
from backends import DURABLE, SHARED
from kernel_helpers import TYPE, Watch, add, dispatch_together, snapshot_past, stop_aggregate
from store_helpers import append, log, logged, payloads, race_processes
from support import run_threads

from eskernel.errors import ConcurrencyConflict
from eskernel.values import Snapshot

STREAM = (TYPE, "a")
ROUNDS = 8
"""How often each of the racing processes appends to all streams."""

over_shared_backends = pytest.mark.parametrize("backend", SHARED)


@pytest.fixture(params=DURABLE)
def backend(request):
    return request.param


@pytest.fixture
def store(backend_url, open_url):
    return open_url(backend_url)


@pytest.fixture
def other(backend_url, store, open_url):
    """Another store of the same events, as another process would have."""
    return open_url(backend_url)


@pytest.fixture
def watch(store):
    return Watch(store)


def numbers(store, aggregate_id="a"):
    return [payload["n"] for payload in payloads(store, (TYPE, aggregate_id))]


def test_many_threads_share_durable_writes(watch, start, store):
    kernel = start()

    def dispatch(index):
        for number in range(10):
            done = kernel.dispatch(add(f"of {index % 4}", number), timeout=20)
            assert done.events[0].position is not None

    with watch.held() as gate:
        threads = threading.Thread(
            target=run_threads, args=[lambda i=index: dispatch(i) for index in range(12)]
        )
        threads.start()
        gate.wait()
    threads.join(30)
    assert len(logged(store)) == sum(watch.sizes) == 120
    assert len(watch.sizes) < 120
    for index in range(4):
        assert kernel.state_of(TYPE, f"of {index}")[1] == 30


def test_commands_queued_on_one_aggregate_share_a_write(watch, start, store):
    done = dispatch_together(start(), watch, [add("a", number) for number in range(8)])
    assert [one.sequence for one in done] == [*range(1, 9)]
    assert numbers(store) == [*range(8)]


@over_shared_backends
def test_a_conflict_fails_no_neighbour_in_the_write(watch, start, store, other):
    kernel = start()
    names = [f"s{number}" for number in range(6)]
    for name in names:
        kernel.dispatch(add(name, 0))
    outcomes = dispatch_together(
        kernel,
        watch,
        [add(name, 1, expected_sequence=1) for name in names],
        meanwhile=lambda: append(other, (TYPE, "s3"), {"type": "added", "n": 9}),
    )
    conflict = outcomes.pop(3)
    assert isinstance(conflict, ConcurrencyConflict)
    assert (conflict.expected, conflict.actual) == (1, 2)
    assert [outcome.sequence for outcome in outcomes] == [2] * 5
    assert kernel.dispatch(add("s3", 1)).sequence == 3
    assert numbers(store, "s3") == [0, 9, 1]


@over_shared_backends
def test_a_command_that_lost_a_race_is_decided_again(start, other):
    kernel = start()
    kernel.dispatch(add("a", 1))
    append(other, STREAM, {"type": "added", "n": 10})
    assert kernel.dispatch(add("a", 100)).sequence == 3
    assert kernel.state_of(TYPE, "a") == ({"total": 111, "count": 3}, 3)


@over_shared_backends
def test_two_kernels_add_to_the_same_aggregates(start, store, other):
    kernels = [start(), start(event_store=other)]

    def load(kernel, index):
        for number in range(20):
            kernel.dispatch(add(f"of {number % 2}", 100 * index + number), timeout=20)

    run_threads(*(lambda i=i: load(kernels[i % 2], i) for i in range(4)), timeout=60)
    found = sorted(event["n"] for event in logged(store))
    assert found == [100 * index + number for index in range(4) for number in range(20)]


def test_what_a_kernel_stored_is_there_for_the_next_one(backend_url, start, store, open_url):
    kernel = start()
    done = [kernel.dispatch(add("a", number, command_id=f"c-{number}")) for number in range(5)]
    state = kernel.state_of(TYPE, "a")
    assert kernel.stop(timeout=10)
    store.close()
    kernel = start(event_store=open_url(backend_url))
    assert kernel.state_of(TYPE, "a") == state == ({"total": 10, "count": 5}, 5)
    assert kernel.dispatch(add("a", 4, command_id="c-4")) == done[4]


def test_snapshots_shorten_what_is_read(start, store, domain):
    kernel = start(snapshot_interval=5)
    for number in range(12):
        kernel.dispatch(add("a", number))
    assert snapshot_past(store, 10).sequence == 10
    stop_aggregate(kernel)
    applied = []
    domain.hooks["apply_event"] = lambda payload, _: applied.append(payload["n"])
    assert kernel.state_of(TYPE, "a") == ({"total": 66, "count": 12}, 12)
    assert applied == [10, 11]


def test_a_snapshot_ahead_of_its_stream_is_ignored(start, store):
    kernel = start(snapshot_interval=5)
    for number in range(5):
        kernel.dispatch(add("a", number))
    snapshot_past(store, 5)
    stop_aggregate(kernel)
    good = store.load_latest(STREAM)
    store.store(Snapshot(STREAM, 9, {"total": -1, "count": 9}, good.version), keep=2)
    assert kernel.state_of(TYPE, "a") == ({"total": 10, "count": 5}, 5)


@over_shared_backends
def test_processes_that_hit_the_same_streams_in_opposite_orders_lose_nothing(backend_url, store):
    said = race_processes(
        4,
        f"""
        def work(index):
            streams = [("t", str(number)) for number in range(6)][:: 1 if index % 2 else -1]
            stored = 0
            with closing(open_patiently({backend_url!r})) as store:
                for number in range({ROUNDS}):
                    heads = [store.fold(one, lambda n, _: n + 1, 0) for one in streams]
                    results = store.append_batch(
                        [
                            Commit(one, made(one, head, [index, number]), head)
                            for one, head in zip(streams, heads)
                        ]
                    )
                    for result in results:
                        assert type(result) is int or type(result) is ConcurrencyConflict, result
                        stored += type(result) is int
            say(stored)
        """,
    )
    events = log(store)
    assert len(events) == sum(map(int, said)) >= 6 * ROUNDS
    for number in range(6):
        own = [event.sequence for event in events if event.stream_id[1] == str(number)]
        assert own == [*range(1, len(own) + 1)]
