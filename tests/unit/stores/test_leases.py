"""The rules of leases, which every store follows."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eskernel.contracts import CheckpointStore
from eskernel.errors import StaleEpoch
from eskernel_stores import MemoryStore
from eskernel_stores.leases import Held, check_seconds

OWNERS = st.sampled_from(["first", "second", "third"])
CALLS = st.lists(
    st.one_of(
        st.tuples(st.just("acquire"), OWNERS, st.integers(0, 3)),
        st.tuples(st.just("release"), OWNERS, st.just(0)),
        st.tuples(st.just("save"), OWNERS, st.integers(0, 6)),
        st.tuples(st.just("wait"), OWNERS, st.integers(0, 3)),
    ),
    max_size=40,
)


@dataclass
class Model:
    """What happened, and to whom: the rules without an epoch kept by anybody."""

    now: float = 0.0
    owner: str | None = None
    until: float = 0.0
    owners: dict = field(default_factory=dict)


@given(CALLS)
def test_no_epoch_falls_or_is_two_owners_whatever_they_do(calls):
    held, model = Held(), Model()
    for kind, owner, number in calls:
        before = held
        if kind == "wait":
            model.now += number
        elif kind == "acquire":
            held = held.acquired(owner, number, model.now)
            if model.owner in (None, owner) or model.until <= model.now:
                assert held.owner == owner
                assert (held.epoch == before.epoch) == (model.owner == owner)
                model.owner, model.until = owner, model.now + number
            assert held.owner == model.owner
            assert held.shown(model.now).seconds == max(model.until - model.now, 0)
            assert model.owners.setdefault(held.epoch, held.owner) == held.owner
        elif kind == "release":
            held = held.released(owner)
            model.owner = None if model.owner == owner else model.owner
        elif number < held.epoch:
            with pytest.raises(StaleEpoch):
                held.admitted("name", number)
        else:
            held = held.admitted("name", number)
            model.owner = model.owner if number == before.epoch else None
            assert held.epoch == number
        assert held.epoch >= before.epoch
        assert held.owner == model.owner


@pytest.mark.parametrize("seconds", [-1, -0.001, float("nan"), float("-inf")])
def test_a_time_that_is_none_is_refused(seconds):
    with pytest.raises(ValueError, match="0 seconds or more"):
        check_seconds(seconds)


def test_a_lease_may_be_for_ever():
    store = MemoryStore()
    assert store.acquire_lease("name", "first", float("inf")).seconds == float("inf")
    assert store.acquire_lease("name", "second", 1).owner == "first"


def test_a_store_in_memory_keeps_checkpoints():
    assert isinstance(MemoryStore(), CheckpointStore)
