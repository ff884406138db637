"""A Kernel on MongoDB: group commit, races with other stores, snapshots and projections."""

import threading
from contextlib import closing

import pytest
from kernel_helpers import TYPE, Gate, Watched, add, attempt, snapshot_past, stop_aggregate
from sql_helpers import append, log, logged, payloads, race_processes
from support import eventually, run_threads

from eskernel.errors import ConcurrencyConflict
from eskernel.values import Snapshot
from eskernel_stores.mongo import MongoStore

STREAM = (TYPE, "a")


class WatchedStore(Watched, MongoStore):
    """A store whose writes are watched."""


class Totals:
    """A projection that sums up what was added to each aggregate."""

    version = "1"
    event_types = frozenset({"added"})

    def init(self):
        return {}

    def handle_event(self, event, state):
        name = event.stream_id[1]
        return {**state, name: state.get(name, 0) + event.payload["n"]}


@pytest.fixture
def store(mongo_url):
    with closing(WatchedStore(mongo_url)) as store:
        yield store


@pytest.fixture
def other(mongo_url, store):
    """Another store of the same events, as another process would have."""
    with closing(MongoStore(mongo_url)) as other:
        yield other


def numbers(store, aggregate_id="a"):
    return [payload["n"] for payload in payloads(store, (TYPE, aggregate_id))]


def held(store):
    """Hold the next durable write until the gate is opened."""
    gate = Gate()

    def before():
        store.before = lambda: None
        gate()

    store.before = before
    return gate


def test_many_threads_share_durable_writes(start, store):
    kernel = start()
    gate = held(store)

    def dispatch(index):
        for number in range(10):
            done = kernel.dispatch(add(f"of {index % 4}", number), timeout=20)
            assert done.events[0].position is not None

    with gate:
        threads = threading.Thread(
            target=run_threads, args=[lambda i=index: dispatch(i) for index in range(12)]
        )
        threads.start()
        gate.wait()
    threads.join(30)
    assert len(logged(store)) == sum(store.sizes) == 120
    assert len(store.sizes) < 120
    for index in range(4):
        assert kernel.state_of(TYPE, f"of {index}")[1] == 30


def test_commands_queued_on_one_aggregate_are_appends_of_their_own_in_one_write(
    start, store, mongo_database
):
    kernel = start()
    gate = held(store)
    with gate:
        first = kernel.submit(add("other", 0))
        gate.wait()
        waiting = [kernel.submit(add("a", number)) for number in range(8)]
        eventually(lambda: len(kernel._runtime.services.commits) == 9)
    assert first.result(10).sequence == 1
    assert [one.result(10).sequence for one in waiting] == [*range(1, 9)]
    assert store.sizes == [1, 8]
    assert numbers(store) == [*range(8)]
    assert mongo_database["events"].count_documents({"aggregate_id": "a"}) == 8


def test_a_conflict_fails_no_neighbour_in_the_write(start, store, other):
    kernel = start()
    names = [f"s{number}" for number in range(6)]
    for name in names:
        kernel.dispatch(add(name, 0))
    store.sizes.clear()
    gate = held(store)
    with gate:
        first = kernel.submit(add("first", 0))
        gate.wait()
        waiting = {name: kernel.submit(add(name, 1, expected_sequence=1)) for name in names}
        eventually(lambda: len(kernel._runtime.services.commits) == 7)
        append(other, (TYPE, "s3"), {"type": "added", "n": 9})
    assert first.result(10)
    outcomes = {name: attempt(one.result, 10) for name, one in waiting.items()}
    assert store.sizes == [1, 6]
    conflict = outcomes.pop("s3")
    assert isinstance(conflict, ConcurrencyConflict)
    assert (conflict.expected, conflict.actual) == (1, 2)
    assert [outcome.sequence for outcome in outcomes.values()] == [2] * 5
    assert kernel.dispatch(add("s3", 1)).sequence == 3
    assert numbers(store, "s3") == [0, 9, 1]


def test_a_command_that_lost_a_race_is_decided_again(start, other):
    kernel = start()
    kernel.dispatch(add("a", 1))
    append(other, STREAM, {"type": "added", "n": 10})
    done = kernel.dispatch(add("a", 100))
    assert done.sequence == 3
    assert kernel.state_of(TYPE, "a") == ({"total": 111, "count": 3}, 3)


def test_two_kernels_add_to_the_same_aggregates(start, store, other):
    kernels = [start(), start(event_store=other)]

    def load(kernel, index):
        for number in range(20):
            kernel.dispatch(add(f"of {number % 2}", 100 * index + number), timeout=20)

    run_threads(*(lambda i=i: load(kernels[i % 2], i) for i in range(4)), timeout=60)
    found = sorted(event["n"] for event in logged(store))
    assert found == [100 * index + number for index in range(4) for number in range(20)]


def test_snapshots_shorten_what_is_read(start, store):
    kernel = start(snapshot_interval=5)
    for number in range(12):
        kernel.dispatch(add("a", number))
    assert snapshot_past(store, 10).sequence == 10
    stop_aggregate(kernel)
    assert kernel.state_of(TYPE, "a") == ({"total": 66, "count": 12}, 12)


def test_a_snapshot_ahead_of_its_stream_is_ignored(start, store):
    kernel = start(snapshot_interval=5)
    for number in range(5):
        kernel.dispatch(add("a", number))
    snapshot_past(store, 5)
    stop_aggregate(kernel)
    good = store.load_latest(STREAM)
    store.store(Snapshot(STREAM, 9, {"total": -1, "count": 9}, good.version), keep=2)
    assert kernel.state_of(TYPE, "a") == ({"total": 10, "count": 5}, 5)


def test_a_damaged_snapshot_is_replaced_by_the_events(start, store, mongo_database):
    kernel = start(snapshot_interval=5)
    for number in range(5):
        kernel.dispatch(add("a", number))
    snapshot_past(store, 5)
    stop_aggregate(kernel)
    mongo_database["snapshots"].update_one({}, {"$set": {"kept.0.receipts": b"\xc1"}})
    assert kernel.state_of(TYPE, "a") == ({"total": 10, "count": 5}, 5)
    assert kernel.dispatch(add("a", 5)).sequence == 6


def test_processes_that_hit_the_same_streams_in_opposite_orders_lose_nothing(mongo_url, open_mongo):
    store = open_mongo(mongo_url)
    said = race_processes(
        4,
        f"""
        from eskernel_stores.mongo import MongoStore

        def work(index):
            streams = [("t", str(number)) for number in range(6)][:: 1 if index % 2 else -1]
            stored = 0
            with closing(MongoStore({mongo_url!r}, timeout=30)) as store:
                for number in range(8):
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
    assert len(events) == sum(map(int, said)) >= 48
    assert [event.position for event in events] == [*range(1, len(events) + 1)]
    for number in range(6):
        own = [event.sequence for event in events if event.stream_id[1] == str(number)]
        assert own == [*range(1, len(own) + 1)]


def test_a_projection_is_kept_and_goes_on_in_another_kernel(start, store, other):
    kernel = start(projections={"totals": Totals()})
    for number in range(10):
        kernel.dispatch(add(f"of {number % 2}", number), wait_for=("totals",), timeout=20)
    assert kernel.projection("totals").state == {"of 0": 20, "of 1": 25}
    assert kernel.stop(timeout=10)
    next_one = start(event_store=other, projections={"totals": Totals()})
    next_one.dispatch(add("of 0", 100), wait_for=("totals",), timeout=20)
    assert next_one.projection("totals").state == {"of 0": 120, "of 1": 25}
    assert next_one.audit("totals", full=True).complete
