"""Leases: at most one holds a name's at a time, and everybody learns who."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from time import monotonic, sleep
from typing import Final

from eskernel.contracts import CheckpointStore
from eskernel.testing.conformance.checkpoints import ANOTHER, NAME
from eskernel.testing.conformance.samples import IDENTIFIERS
from eskernel.testing.conformance.threads import DEADLINE
from eskernel.testing.conformance.tools import require, require_equal, require_raises
from eskernel.values import Lease

LONG: Final = 600.0
"""Seconds that no check takes."""
_SHORT: Final = 0.1
_POLL: Final = 0.005


def require_lease(lease: Lease, owner: str, epoch: int, seconds: float = LONG) -> None:
    """Raise AssertionError unless a lease is this one, and valid for up to so many seconds."""
    require_equal((lease.owner, lease.epoch), (owner, epoch), "owner and epoch of the lease")
    valid = f"the lease is valid for {lease.seconds} seconds, and {seconds} were asked for"
    require(0 <= lease.seconds <= seconds + 0.001, valid)


def the_first_who_asks_gets_the_lease(store: CheckpointStore) -> None:
    """For as long as asked; the epoch is at least 1."""
    lease = store.acquire_lease(NAME, "first", LONG)
    require(lease.epoch >= 1, f"the first epoch is {lease.epoch}")
    require_lease(lease, "first", lease.epoch)
    require(lease.seconds > LONG / 2, f"the lease is valid for {lease.seconds} seconds")
    require_equal(type(lease), Lease, "its type")


def whoever_finds_another_there_is_told_whom(store: CheckpointStore) -> None:
    """And changes nothing, however long a lease was asked for."""
    epoch = store.acquire_lease(NAME, "first", LONG).epoch
    for seconds in (0, 1, 2 * LONG):
        lease = store.acquire_lease(NAME, "second", seconds)
        require_lease(lease, "first", epoch)
        require(lease.seconds > LONG / 2, f"the lease is valid for {lease.seconds} seconds")
    require_lease(store.acquire_lease(NAME, "first", LONG), "first", epoch)


def renewing_keeps_the_epoch(store: CheckpointStore) -> None:
    """From then on it is valid for what was asked last, be it more or less."""
    epoch = store.acquire_lease(NAME, "first", 1).epoch
    for seconds in (LONG, 1, 2 * LONG):
        lease = store.acquire_lease(NAME, "first", seconds)
        require_lease(lease, "first", epoch, seconds)
        require(lease.seconds > seconds / 2, f"{lease.seconds} of {seconds} seconds are left")
    require_lease(store.acquire_lease(NAME, "second", 1), "first", epoch, 2 * LONG)
    store.acquire_lease(NAME, "first", 0)
    require_equal(store.acquire_lease(NAME, "second", 1).owner, "second", "the owner")


def a_lease_that_ran_out_is_taken_over(store: CheckpointStore) -> None:
    """Not before; the epoch is larger, and who held it learns of it."""
    start = monotonic()
    epoch = store.acquire_lease(NAME, "first", _SHORT).epoch
    while (lease := store.acquire_lease(NAME, "second", LONG)).owner == "first":
        require_lease(lease, "first", epoch, _SHORT)
        require(monotonic() < start + DEADLINE, f"{_SHORT} seconds last for {DEADLINE}")
        sleep(_POLL)
    passed = monotonic() - start
    require(passed > _SHORT * 0.9, f"{_SHORT} seconds were over after {passed}")
    require(lease.epoch > epoch, f"epoch {lease.epoch} comes after {epoch}")
    require_lease(lease, "second", lease.epoch)
    require_lease(store.acquire_lease(NAME, "first", LONG), "second", lease.epoch)


def who_still_holds_a_lease_that_ran_out_keeps_its_epoch(store: CheckpointStore) -> None:
    """For nobody else can have saved meanwhile."""
    epoch = store.acquire_lease(NAME, "first", 0).epoch
    for seconds in (0, 0, LONG):
        require_lease(store.acquire_lease(NAME, "first", seconds), "first", epoch, seconds)
    require_lease(store.acquire_lease(NAME, "second", LONG), "first", epoch)


def a_lease_of_no_seconds_may_be_taken_at_once(store: CheckpointStore) -> None:
    """Each time under a larger epoch, also by those who had it before."""
    epochs = [store.acquire_lease(NAME, owner, 0).epoch for owner in ("a", "b", "a", "b", "c")]
    require(epochs == sorted(set(epochs)), f"epochs of five owners, one after another: {epochs}")


def a_lease_given_back_is_free(store: CheckpointStore) -> None:
    """At once, for the one who had it too, and always under a larger epoch."""
    epochs = []
    for owner in ("first", "second", "second", "first"):
        lease = store.acquire_lease(NAME, owner, LONG)
        require_equal(lease.owner, owner, "the owner of a lease that was given back")
        epochs.append(lease.epoch)
        store.release_lease(NAME, owner)
    require(epochs == sorted(set(epochs)), f"epochs of leases given back: {epochs}")


def only_its_owner_gives_a_lease_back(store: CheckpointStore) -> None:
    """Others do nothing by it, nor does anybody who gives back what is nobody's."""
    store.release_lease(NAME, "first")
    epoch = store.acquire_lease(NAME, "first", LONG).epoch
    for owner in ("second", "FIRST", "first ", "firs%"):
        store.release_lease(NAME, owner)
    store.release_lease(ANOTHER, "first")
    require_lease(store.acquire_lease(NAME, "second", LONG), "first", epoch)
    require_lease(store.acquire_lease(NAME, "first", LONG), "first", epoch)
    for _ in range(2):
        store.release_lease(NAME, "first")
    require_equal(store.acquire_lease(NAME, "second", LONG).owner, "second", "the owner")


def leases_of_any_names_and_owners_stay_apart(store: CheckpointStore) -> None:
    """Both are just names; an owner is another if one character is."""
    for name in IDENTIFIERS:
        require_equal(store.acquire_lease(name, name, LONG).owner, name, f"the owner of {name!a}")
    for name, other in pairwise(IDENTIFIERS):
        require_equal(store.acquire_lease(name, other, LONG).owner, name, f"the owner of {name!a}")
    for other in IDENTIFIERS[1:]:
        owner = store.acquire_lease(IDENTIFIERS[0], other, LONG).owner
        require_equal(owner, IDENTIFIERS[0], f"the owner when {other!a} asks")


def a_time_that_is_none_is_refused(store: CheckpointStore) -> None:
    """ValueError for negative seconds and for NaN; the lease stays as it was."""
    epoch = store.acquire_lease(NAME, "first", LONG).epoch
    for seconds in (-1, -0.001, float("nan"), float("-inf")):
        require_raises(ValueError, partial(store.acquire_lease, NAME, "first", seconds))
    require_lease(store.acquire_lease(NAME, "second", 0), "first", epoch)


CHECKS = (
    the_first_who_asks_gets_the_lease,
    whoever_finds_another_there_is_told_whom,
    renewing_keeps_the_epoch,
    a_lease_that_ran_out_is_taken_over,
    who_still_holds_a_lease_that_ran_out_keeps_its_epoch,
    a_lease_of_no_seconds_may_be_taken_at_once,
    a_lease_given_back_is_free,
    only_its_owner_gives_a_lease_back,
    leases_of_any_names_and_owners_stay_apart,
    a_time_that_is_none_is_refused,
)
