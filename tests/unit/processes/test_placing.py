"""Shards are divided evenly, the same way in every process, and few move when workers change."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings

from eskernel.processes.placing import worker_of_each_shard

names_of_workers = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
workers = st.lists(names_of_workers, min_size=1, max_size=8, unique=True)
shards = st.integers(1, 64)


def named(count):
    return [f"worker-{number}" for number in range(count)]


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(workers, shards)
def test_each_shard_has_a_worker_and_none_has_more_than_its_share(names, count):
    places = worker_of_each_shard(names, count)
    assert len(places) == count
    assert set(places) <= set(range(len(names)))
    assert max(Counter(places).values()) <= -(-count // len(names))


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(st.permutations(named(6)), shards)
def test_places_hang_on_names_and_not_on_the_order_they_are_given_in(names, count):
    def by_name(given):
        return [given[place] for place in worker_of_each_shard(given, count)]

    assert by_name(names) == by_name(named(6))


def test_another_worker_takes_little_but_its_share():
    for count in range(2, 9):
        before, after = (
            worker_of_each_shard(named(count), 256),
            worker_of_each_shard(named(count + 1), 256),
        )
        moved = sum(one != other for one, other in zip(before, after, strict=True))
        share = -(-256 // (count + 1))
        assert moved >= 256 - count * share, "the new one has its share"
        assert moved <= 2 * share
        assert Counter(after)[count] > share / 2


def test_another_process_places_alike():
    program = (
        "from eskernel.processes.placing import worker_of_each_shard;"
        "print(worker_of_each_shard([f'worker-{n}' for n in range(5)], 64))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(worker_of_each_shard(named(5), 64))
