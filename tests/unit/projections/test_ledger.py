"""Fingerprints of what was handled, and the ranges they are kept for."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from projecting_helpers import whole

from eskernel.projections.ledger import LIMIT, WIDTH, Handled, Ledger, fingerprint, powers

rising = st.lists(st.integers(1, 5000), unique=True).map(sorted)


def handled(start, stop, positions):
    return Handled(start, stop, len(positions), fingerprint(positions))


@given(rising, st.integers(1, 5001))
def test_the_fingerprints_of_two_neighbours_make_that_of_both(positions, cut):
    before = [one for one in positions if one < cut]
    after = [one for one in positions if one >= cut]
    joined = handled(1, cut, before).joined(handled(cut, 5001, after))
    assert joined == handled(1, 5001, positions)


@given(st.lists(rising, min_size=1, max_size=6), st.data())
def test_joining_is_associative(parts, data):
    whole_at_once = handled(1, 7, [one for part in parts for one in part])
    ranges = [handled(n, n + 1, part) for n, part in enumerate(parts, 1)]
    while len(ranges) > 1:
        at = data.draw(st.integers(0, len(ranges) - 2))
        ranges[at : at + 2] = [ranges[at].joined(ranges[at + 1])]
    assert ranges[0][2:] == whole_at_once[2:]


@given(rising.filter(bool), st.data())
def test_a_position_left_out_doubled_or_out_of_order_changes_the_fingerprint(positions, data):
    at = data.draw(st.integers(0, len(positions) - 1))
    one = positions[at]
    wrong = [
        positions[:at] + positions[at + 1 :],
        [*positions[:at], one, one, *positions[at + 1 :]],
        [*positions, positions[-1] + 1],
    ]
    if positions != positions[::-1]:
        wrong.append(positions[::-1])
    assert fingerprint(positions) not in {fingerprint(other) for other in wrong}


def test_powers_shift_a_fingerprint_past_what_follows():
    factors = powers(3)
    assert factors[0] == 1
    assert fingerprint([9 * factors[3]]) == fingerprint([9, 0, 0, 0])


def paged(positions, cuts, end):
    ledger = Ledger()
    for reached in [*sorted({cut for cut in cuts if cut < end}), end]:
        if reached <= ledger.reached:
            continue
        page = [one for one in positions if ledger.reached < one <= reached]
        ledger = ledger.after(page, reached)
    return ledger


@given(rising, st.lists(st.integers(1, 5000)), st.integers(0, 100))
def test_any_split_into_pages_gives_the_same_ledger(positions, cuts, more):
    end = max(positions, default=0) + more
    assert paged(positions, cuts, end) == Ledger().after(positions, end)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 400), st.lists(st.integers(1, 400 * WIDTH), max_size=30))
def test_a_long_ledger_stays_short_and_says_the_same(pages, cuts):
    positions = list(range(7, pages * WIDTH, WIDTH // 2))
    ledger = paged(positions, [*cuts, *range(WIDTH, pages * WIDTH, WIDTH)], pages * WIDTH)
    assert len(ledger.ranges) <= LIMIT
    assert whole(ledger) == handled(1, pages * WIDTH + 1, positions)
    edges = [(one.start, one.stop) for one in ledger.ranges]
    assert all(before[1] == after[0] for before, after in pairwise(edges))


def test_the_newest_ranges_are_the_narrowest():
    ledger = Ledger()
    for start in range(1, 600 * WIDTH, WIDTH):
        ledger = ledger.after(list(range(start, start + WIDTH)), start + WIDTH - 1)
    widths = [one.events for one in ledger.ranges[:-1]]
    assert widths[-1] == WIDTH
    assert widths[0] > 4 * WIDTH


def test_a_gap_between_two_positions_costs_no_ranges():
    """As in a store that counts in large steps, or for who begins late."""
    ledger = Ledger().after([5, 10**15], 10**15)
    assert ledger.ranges == (handled(1, 10**15 + 1, [5, 10**15]),)
    assert len(ledger.after([10**16], 10**17).ranges) == 1


@given(rising, st.lists(st.integers(1, 5000)), st.integers(0, 5001))
def test_packing_keeps_everything(positions, cuts, proved):
    ledger = paged(positions, cuts, 5000).proved_before(proved)
    assert Ledger.of(ledger.packed()) == ledger


@given(rising, st.integers(0, 5100))
def test_proving_moves_whole_ranges_only_and_loses_nothing(positions, stop):
    ledger = Ledger().after(positions, 5000)
    proved = ledger.proved_before(stop)
    assert whole(proved) == whole(ledger)
    assert proved.reached == ledger.reached
    assert proved.proved.stop <= max(stop, 1)
    assert not proved.ranges or proved.ranges[0].stop > stop
    assert proved.proved_before(stop) == proved


@pytest.mark.parametrize("rest", [[], [1500, 1501]])
def test_what_comes_after_a_proof_is_counted_from_there(rest):
    ledger = Ledger().after([5, 9], 1400).proved_before(1401)
    assert not ledger.ranges
    later = ledger.after(rest, 1600)
    assert [one.start for one in later.ranges] == [1401]
    assert whole(later) == handled(1, 1601, [5, 9, *rest])


def test_an_empty_ledger_has_reached_nothing():
    assert Ledger().reached == 0
    assert Ledger().after([], 0) == Ledger()
