"""Whether a projection has handled every matching position of the log, once, in order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from projecting_helpers import ProbedStore, Sums, append, unavailable

from eskernel.errors import StoreUnavailable
from eskernel.projections.audit import Discrepancy, audit
from eskernel.projections.definition import Definition
from eskernel.projections.ledger import WIDTH, Handled, Ledger, fingerprint
from eskernel.projections.progress import Parked, Progress


def noted(handled, reached, **more):
    """Return a progress that notes these positions, however wrong."""
    ranges, start = [], 1
    while start <= reached:
        stop = min((start // WIDTH + 1) * WIDTH, reached + 1)
        inside = [one for one in handled if start <= one < stop]
        ranges.append(Handled(start, stop, len(inside), fingerprint(inside)))
        start = stop
    return Progress(reached, "1", Ledger(ranges=tuple(ranges)), **more)


@pytest.fixture
def store():
    store = ProbedStore()
    append(store, *range(100))
    return store


@pytest.fixture
def definition():
    return Definition("sums", Sums())


ALL = list(range(1, 101))


def without(*positions):
    return [one for one in ALL if one not in positions]


def test_a_projection_that_is_right_is_complete(store, definition):
    found = audit(definition, store, noted(ALL, 100))
    assert found.complete
    assert (found.position, found.proved, found.events) == (100, 100, 100)
    assert found.discrepancies == found.missing == found.doubled == ()


def test_nothing_handled_of_nothing_is_complete(definition):
    found = audit(definition, ProbedStore(), Progress(0, "1"))
    assert found.complete
    assert (found.position, found.proved, found.events) == (0, 0, 0)


@pytest.mark.parametrize("position", [1, 2, 50, 99, 100])
def test_a_position_that_is_missing_is_found(store, definition, position):
    found = audit(definition, store, noted(without(position), 100))
    assert not found.complete
    assert found.discrepancies == (Discrepancy(1, 101, 100, 99, (position,)),)
    assert (found.missing, found.doubled, found.proved) == ((position,), (), 0)


@pytest.mark.parametrize("start", [1, 2, 50, 91])
def test_a_run_that_is_missing_is_found(store, definition, start):
    run = tuple(range(start, start + 10))
    found = audit(definition, store, noted(without(*run), 100))
    assert found.missing == run


@pytest.mark.parametrize(("start", "length"), [(1, 1), (1, 10), (50, 7), (100, 1), (91, 10)])
def test_a_run_that_was_handled_twice_is_found(store, definition, start, length):
    run = list(range(start, start + length))
    handled = [*ALL[: start + length - 1], *run, *ALL[start + length - 1 :]]
    found = audit(definition, store, noted(handled, 100))
    assert found.doubled == tuple(run)
    assert found.missing == ()
    assert found.discrepancies[0][:4] == (1, 101, 100, 100 + length)


@pytest.mark.parametrize(
    "handled",
    [
        without(3, 50, 97),  # no run
        [*ALL, 200],  # not in the log
        [*ALL[:10], 12, 11, *ALL[12:]],  # out of order
        [*without(7), 50],  # one missing, another twice
        [*ALL, 3, 50],  # twice, but no run
    ],
)
def test_what_cannot_be_located_is_reported_all_the_same(store, definition, handled):
    progress = Progress(
        100, "1", Ledger(ranges=(Handled(1, 101, len(handled), fingerprint(handled)),))
    )
    found = audit(definition, store, progress)
    assert found.discrepancies == (Discrepancy(1, 101, 100, len(handled)),)


@given(st.sets(st.integers(1, 60), max_size=3), st.sets(st.integers(1, 60), max_size=3))
def test_whatever_differs_is_noticed(missing, doubled):
    store = ProbedStore()
    append(store, *range(60))
    handled = sorted([*(set(range(1, 61)) - missing), *(doubled - missing)])
    found = audit(Definition("sums", Sums()), store, noted(handled, 60))
    assert found.complete == (not missing and not (doubled - missing))


def test_each_range_is_reported_by_itself_and_what_comes_before_is_proved(definition):
    store = ProbedStore()
    append(store, *range(4 * WIDTH))
    wrong = (WIDTH + 7, 3 * WIDTH)
    handled = [one for one in range(1, 4 * WIDTH + 1) if one not in wrong]
    found = audit(definition, store, noted(handled, 4 * WIDTH))
    assert found.missing == wrong
    assert [one.start for one in found.discrepancies] == [WIDTH, 3 * WIDTH]
    assert found.proved == WIDTH - 1


def test_what_was_proved_is_not_read_again(store, definition):
    progress = noted(ALL, 100)
    progress = progress._replace(ledger=progress.ledger.proved_before(101))
    append(store, 100, 101)
    progress = progress.moved([101, 102], 102)
    store.handed.clear()
    found = audit(definition, store, progress)
    assert store.handed == [101, 102]
    assert (found.complete, found.events, found.proved) == (True, 2, 102)


def test_a_full_audit_reads_it_all_the_same(store, definition):
    progress = noted(without(5), 100)
    progress = progress._replace(ledger=progress.ledger.proved_before(101))
    assert audit(definition, store, progress).complete
    found = audit(definition, store, progress, full=True)
    assert found.missing == (5,)
    assert found.proved == 0
    right = noted(ALL, 100)
    right = right._replace(ledger=right.ledger.proved_before(101))
    found = audit(definition, store, right, full=True)
    assert (found.complete, found.proved, found.events) == (True, 100, 100)
    assert audit(definition, store, noted(ALL, 100), full=True).proved == 100


def test_parked_and_discarded_events_are_accounted_for(store, definition):
    parked = Parked(5, ("thing", "a"), 5, "added", "x", 1, 0)
    found = audit(definition, store, noted(ALL, 100, parked=(parked,), discarded=(7,)))
    assert found.complete
    assert (found.parked, found.discarded) == ((5,), (7,))


def test_only_what_matches_is_expected(store):
    append(store, 1, 2, 3, type="other")
    append(store, 7, 8, stream_id=("other", "b"))
    module = Sums(
        event_types={"added"},
        aggregate_types={"thing"},
        event_filter=lambda event: event.payload["n"] % 2,
    )
    odd = [one for one in ALL if (one - 1) % 2]
    definition = Definition("sums", module)
    found = audit(definition, store, noted(odd, 105))
    assert (found.complete, found.events) == (True, 50)
    assert audit(definition, store, noted(odd[1:], 105)).missing == (2,)


def test_what_comes_after_its_position_is_not_looked_at(store, definition):
    found = audit(definition, store, noted(ALL[:50], 50))
    assert (found.complete, found.position, found.events) == (True, 50, 50)


def test_in_a_very_wide_range_nothing_is_located(monkeypatch, store, definition):
    monkeypatch.setattr("eskernel.projections.audit._LOCATED", 99)
    found = audit(definition, store, noted(without(5), 100))
    assert found.discrepancies == (Discrepancy(1, 101, 100, 99),)


def test_a_store_that_cannot_be_read_is_an_error(store, definition):
    store.before["fold_all"] = unavailable
    with pytest.raises(StoreUnavailable):
        audit(definition, store, noted(ALL, 100))
