"""A Kernel on SQLite and PostgreSQL: what it leaves in the tables."""

import pytest
from kernel_helpers import TYPE, Watch, add, dispatch_together, snapshot_past, stop_aggregate
from sql_rows import rows


@pytest.fixture
def store(sql_url, open_sql):
    return open_sql(sql_url)


def test_commands_queued_on_one_aggregate_are_appends_of_their_own(start, store):
    watch = Watch(store)
    dispatch_together(start(), watch, [add("a", number) for number in range(8)])
    ((appends,),) = rows(
        store,
        "SELECT count(DISTINCT append_id) FROM eskernel_events WHERE aggregate_id = 'a'",
    )
    assert appends == 8


def test_a_damaged_snapshot_is_replaced_by_the_events(start, store):
    kernel = start(snapshot_interval=5)
    for number in range(5):
        kernel.dispatch(add("a", number))
    snapshot_past(store, 5)
    stop_aggregate(kernel)
    rows(store, "UPDATE eskernel_snapshots SET receipts = append_id FROM eskernel_events")
    assert kernel.state_of(TYPE, "a") == ({"total": 10, "count": 5}, 5)
    assert kernel.dispatch(add("a", 5)).sequence == 6
