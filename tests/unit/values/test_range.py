"""Range algebra, checked against Python sets of numbers."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eskernel import Range

bounds = st.integers(0, 12)
ranges = st.builds(Range, bounds, st.none() | bounds)
UNIVERSE = range(30)  # bounds end well before, so its upper half stands for infinity


def numbers(value):
    return {n for n in UNIVERSE if value.start <= n and (value.stop is None or n < value.stop)}


@given(ranges)
@settings(deadline=None)
def test_a_range_is_empty_when_it_holds_no_number(one):
    assert one.is_empty() == (not numbers(one))


@given(ranges, ranges)
@settings(deadline=None)
def test_ranges_are_equal_when_they_hold_the_same_numbers(one, other):
    same = numbers(one) == numbers(other)
    assert one.equal(other) == (one == other) == same
    assert (one != other) == (not same)


@given(ranges, ranges)
@settings(deadline=None)
def test_equal_ranges_have_equal_hashes(one, other):
    assert one != other or hash(one) == hash(other)
    assert len({one, other}) == (1 if one == other else 2)


@given(ranges, bounds)
@settings(deadline=None)
def test_a_range_contains_its_numbers(one, number):
    assert one.contains(number) == (number in one) == (number in numbers(one))


@given(ranges, ranges)
@settings(deadline=None)
def test_a_range_contains_the_ranges_that_are_subsets(one, other):
    assert one.contains(other) == (other in one) == (numbers(other) <= numbers(one))


@given(ranges, ranges)
@settings(deadline=None)
def test_ranges_overlap_when_they_share_a_number(one, other):
    shared = bool(numbers(one) & numbers(other))
    assert one.overlaps(other) == other.overlaps(one) == shared


@given(ranges, ranges)
@settings(deadline=None)
def test_a_range_is_less_when_each_number_is_less_than_each_of_the_other(one, other):
    assert one.lt(other) == all(a < b for a in numbers(one) for b in numbers(other))


@given(ranges, ranges)
@settings(deadline=None)
def test_an_intersection_holds_what_both_hold(one, other):
    assert numbers(one.intersection(other)) == numbers(one) & numbers(other)


@given(ranges, ranges)
@settings(deadline=None)
def test_a_difference_holds_what_the_other_lacks(one, other):
    pieces = one.difference(other)
    assert set().union(*map(numbers, pieces)) == numbers(one) - numbers(other)


@given(ranges, ranges)
@settings(deadline=None)
def test_a_difference_is_in_order_and_without_empty_or_overlapping_pieces(one, other):
    pieces = one.difference(other)
    assert not any(piece.is_empty() for piece in pieces)
    assert all(a.lt(b) for a, b in pairwise(pieces))


@given(ranges, bounds)
@settings(deadline=None)
def test_advancing_leaves_the_numbers_from_there_on(one, number):
    assert numbers(one.advance(number)) == {n for n in numbers(one) if n >= number}


@given(ranges, ranges)
@settings(deadline=None)
def test_all_empty_ranges_are_equal_and_contained_by_all(one, other):
    empty = Range(one.start, 0)
    assert empty == Range(5, 5)
    assert hash(empty) == hash(Range(5, 5))
    assert other.contains(empty)
    assert empty.lt(other)
    assert other.lt(empty)


@given(bounds, bounds)
@settings(deadline=None)
def test_an_open_range_has_no_end(start, other):
    assert Range(start).contains(10**30)
    assert not Range(start).is_empty()
    assert Range(start).difference(Range(0, other)) == (Range(max(start, other)),)
    assert not Range(start).lt(Range(start + other))


@given(bounds, st.none() | bounds)
@settings(deadline=None)
def test_new_gives_the_range_of_valid_bounds(start, stop):
    assert tuple(Range.new(start, stop)) == (start, stop)
    assert Range.new() == Range() == Range(0, None)


@pytest.mark.parametrize("bad", [-1, 1.0, "1", True, [], None])
def test_new_refuses_bounds_that_are_no_whole_numbers_of_at_least_0(bad):
    with pytest.raises(ValueError, match="Range start must be a whole number of at least 0"):
        Range.new(bad, 3)
    if bad is not None:
        with pytest.raises(ValueError, match="Range stop"):
            Range.new(0, bad)


def test_a_range_cannot_be_changed_and_holds_only_numbers_and_ranges():
    assert Range(1, 2) != "range"
    assert "1" not in Range(1, 2)
    with pytest.raises(AttributeError):
        Range(1, 2).start = 0
    assert repr(Range(1, 2)) == "Range(start=1, stop=2)"
