"""Running a projection once over a store."""

import pytest
import sqlalchemy as sa
from projecting_helpers import ProbedStore, Sums, append, fails_at

from eskernel import project
from eskernel.errors import InvalidProjection
from eskernel.values import Range

TABLE = sa.Table("thing", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True))


@pytest.fixture
def store():
    store = ProbedStore()
    append(store, *range(10))
    append(store, 100, type="other")
    return store


def test_it_returns_the_state_and_how_far_it_came(store):
    state, position = project(Sums(), store)
    assert state == {"sum": 145, "seen": list(range(1, 12))}
    assert position == 11
    assert store.saves == []


def test_a_range_is_enough(store):
    state, position = project(Sums(), store, Range(3, 6))
    assert (state["seen"], position) == ([3, 4, 5], 5)


def test_it_passes_over_what_the_module_does_not_want(store):
    module = Sums(event_types={"added"}, event_filter=lambda event: event.payload["n"] > 5)
    state, position = project(module, store)
    assert (state["seen"], position) == ([7, 8, 9, 10], 11)


def test_what_the_module_raises_is_raised(store):
    module = Sums()
    module.hook = fails_at(5)
    with pytest.raises(ZeroDivisionError):
        project(module, store)


def test_tables_have_no_state_to_return(store):
    module = Sums(tables=TABLE)
    module.handle_event = lambda event, connection: None
    with pytest.raises(InvalidProjection, match="run it in a Kernel"):
        project(module, store)


def test_what_is_no_projection_is_refused(store):
    with pytest.raises(InvalidProjection, match="needs a function"):
        project(object(), store)
