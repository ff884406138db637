"""Epochs: whoever has been replaced stores no checkpoints any more."""

from __future__ import annotations

from functools import partial

from eskernel.contracts import CheckpointStore
from eskernel.errors import StaleEpoch
from eskernel.testing.conformance.checkpoints import ANOTHER, NAME, made, require_slots
from eskernel.testing.conformance.tools import require, require_equal, require_raises
from eskernel.values import SERVING, Checkpoint


def require_refused(
    store: CheckpointStore, epoch: int, newest: int, slots: dict[str, Checkpoint | None]
) -> None:
    """Raise AssertionError unless a save under an epoch fails, and says why."""
    error = require_raises(StaleEpoch, partial(store.save_checkpoints, NAME, epoch, slots))
    facts = (error.name, error.epoch, error.newest)
    require_equal(facts, (NAME, epoch, newest), "the facts of StaleEpoch")


def a_save_under_a_smaller_epoch_stores_nothing(store: CheckpointStore) -> None:
    """In none of its slots; the epoch may rise by more than one, and says nothing of others."""
    store.save_checkpoints(NAME, 7, {"a": made(1), "b": made(2)})
    for epoch in (6, 1, 0):
        require_refused(store, epoch, 7, {"a": made(3), "b": None, "c": made(4)})
        require_refused(store, epoch, 7, {})
        require_slots(store, NAME, a=made(1, epoch=7), b=made(2, epoch=7), c=None)
    store.save_checkpoints(ANOTHER, 0, {"a": made(5)})
    require_slots(store, ANOTHER, a=made(5))


def a_save_under_the_same_or_a_larger_epoch_is_stored(store: CheckpointStore) -> None:
    """By number, not by digits."""
    for position, epoch in enumerate((0, 0, 1, 9, 9, 10, 100, 2**31, 2**40, 2**40)):
        store.save_checkpoints(NAME, epoch, {SERVING: made(position)})
        require_slots(store, NAME, serving=made(position, epoch=epoch))


def an_epoch_is_remembered_without_checkpoints(store: CheckpointStore) -> None:
    """Also of a save that empties every slot, or names none."""
    store.save_checkpoints(NAME, 1, {SERVING: made(1)})
    store.save_checkpoints(NAME, 4, {SERVING: None})
    require_refused(store, 3, 4, {SERVING: made(2)})
    store.save_checkpoints(NAME, 5, {})
    require_refused(store, 4, 5, {SERVING: made(2)})
    require_slots(store, NAME, serving=None)


def a_lease_taken_over_fences_who_held_it(store: CheckpointStore) -> None:
    """From the moment it is given, before its new owner saves anything."""
    first = store.acquire_lease(NAME, "first", 0)
    store.save_checkpoints(NAME, first.epoch, {SERVING: made(1)})
    second = store.acquire_lease(NAME, "second", 60)
    require_refused(store, first.epoch, second.epoch, {SERVING: made(2)})
    require_slots(store, NAME, serving=made(1, epoch=first.epoch))
    store.save_checkpoints(NAME, second.epoch, {SERVING: made(3)})
    require_slots(store, NAME, serving=made(3, epoch=second.epoch))


def a_lease_given_back_still_fences_those_before_it(store: CheckpointStore) -> None:
    """Its own epoch counts until another has it."""
    old = store.acquire_lease(NAME, "first", 0).epoch
    epoch = store.acquire_lease(NAME, "second", 60).epoch
    store.release_lease(NAME, "second")
    require_refused(store, old, epoch, {SERVING: made(1)})
    store.save_checkpoints(NAME, epoch, {SERVING: made(2)})
    require_slots(store, NAME, serving=made(2, epoch=epoch))


def a_new_lease_has_a_larger_epoch_than_any_save(store: CheckpointStore) -> None:
    """A save under a larger epoch than the lease's ends it, for whoever has it can save no more."""
    store.save_checkpoints(NAME, 41, {SERVING: made(1)})
    lease = store.acquire_lease(NAME, "first", 60)
    require(lease.epoch > 41, f"the lease's epoch is {lease.epoch}, and 41 was seen")
    store.save_checkpoints(NAME, 99, {})
    later = store.acquire_lease(NAME, "second", 60)
    require_equal(later.owner, "second", "the owner after a save under a larger epoch")
    require(later.epoch > 99, f"the lease's epoch is {later.epoch}, and 99 was seen")


CHECKS = (
    a_save_under_a_smaller_epoch_stores_nothing,
    a_save_under_the_same_or_a_larger_epoch_is_stored,
    an_epoch_is_remembered_without_checkpoints,
    a_lease_taken_over_fences_who_held_it,
    a_lease_given_back_still_fences_those_before_it,
    a_new_lease_has_a_larger_epoch_than_any_save,
)
