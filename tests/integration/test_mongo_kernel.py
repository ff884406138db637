"""A Kernel on MongoDB: what it leaves in the collections, and projections."""

import pytest
from kernel_helpers import TYPE, Watch, add, dispatch_together, snapshot_past, stop_aggregate


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
def store(mongo_url, open_mongo):
    return open_mongo(mongo_url)


def test_commands_queued_on_one_aggregate_are_documents_of_their_own(start, store, mongo_database):
    watch = Watch(store)
    dispatch_together(start(), watch, [add("a", number) for number in range(8)])
    assert mongo_database["events"].count_documents({"aggregate_id": "a"}) == 8


def test_a_damaged_snapshot_is_replaced_by_the_events(start, store, mongo_database):
    kernel = start(snapshot_interval=5)
    for number in range(5):
        kernel.dispatch(add("a", number))
    snapshot_past(store, 5)
    stop_aggregate(kernel)
    mongo_database["snapshots"].update_one({}, {"$set": {"kept.0.receipts": b"\xc1"}})
    assert kernel.state_of(TYPE, "a") == ({"total": 10, "count": 5}, 5)
    assert kernel.dispatch(add("a", 5)).sequence == 6


def test_a_projection_is_kept_and_goes_on_in_another_kernel(start, store, mongo_url, open_mongo):
    kernel = start(projections={"totals": Totals()})
    for number in range(10):
        kernel.dispatch(add(f"of {number % 2}", number), wait_for=("totals",), timeout=20)
    assert kernel.projection("totals").state == {"of 0": 20, "of 1": 25}
    assert kernel.stop(timeout=10)
    next_one = start(event_store=open_mongo(mongo_url), projections={"totals": Totals()})
    next_one.dispatch(add("of 0", 100), wait_for=("totals",), timeout=20)
    assert next_one.projection("totals").state == {"of 0": 120, "of 1": 25}
    assert next_one.audit("totals", full=True).complete
