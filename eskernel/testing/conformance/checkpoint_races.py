"""Many threads at one name: its checkpoints are whole, and its lease is one's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from eskernel.contracts import CheckpointStore
from eskernel.errors import StaleEpoch
from eskernel.testing.conformance.checkpoints import NAME, made, require_slots
from eskernel.testing.conformance.leases import LONG
from eskernel.testing.conformance.threads import at_once
from eskernel.testing.conformance.tools import require, require_equal
from eskernel.values import SERVING, Lease

_THREADS: Final = 6
_SAVES: Final = 25


def position_in(store: CheckpointStore, slot: str, name: str = NAME) -> int:
    """Return the position of a checkpoint that must be there, and be as it was made."""
    found = store.load_checkpoint(name, slot)
    if found is None:
        raise AssertionError(f"no checkpoint in {slot!a}, though one was saved")
    require_equal(found, made(found.position, epoch=found.epoch), f"the checkpoint in {slot!a}")
    return found.position


def slots_saved_together_are_seen_together(store: CheckpointStore) -> None:
    """A reader who has seen one of them finds the others when it looks."""
    slots = ("a", SERVING, "z")
    store.save_checkpoints(NAME, 0, {slot: made(0) for slot in slots})

    def save() -> None:
        for position in range(1, 2 * _SAVES):
            store.save_checkpoints(NAME, 0, {slot: made(position) for slot in slots})

    def read(order: tuple[str, ...], running: Callable[[], bool]) -> None:
        while running():
            found = [position_in(store, slot) for slot in order]
            require_equal(found, sorted(found), f"positions, read one after another, of {order}")

    at_once([save], [partial(read, slots), partial(read, slots[::-1])])
    require_slots(store, NAME, **dict.fromkeys(slots, made(2 * _SAVES - 1)))


def threads_that_save_slots_of_their_own_lose_none(store: CheckpointStore) -> None:
    """Nor a position: what was acknowledged is there, and stays."""

    def save(slot: str) -> None:
        for position in range(_SAVES):
            store.save_checkpoints(NAME, 1, {slot: made(position)})
            require_equal(position_in(store, slot), position, f"the position saved in {slot}")

    slots = [f"slot {number}" for number in range(_THREADS)]
    at_once([partial(save, slot) for slot in slots])
    require_slots(store, NAME, **dict.fromkeys(slots, made(_SAVES - 1, epoch=1)))


def a_smaller_epoch_never_overwrites_a_larger(store: CheckpointStore) -> None:
    """However saves race: once a larger one is seen, smaller ones are refused."""

    def save(epoch: int) -> None:
        for position in range(_SAVES):
            try:
                store.save_checkpoints(NAME, epoch, {SERVING: made(position)})
            except StaleEpoch as error:
                require(error.newest > epoch, f"{epoch} was refused for {error.newest}")
                return
        require(epoch <= newest_epoch(), f"{epoch} was acknowledged, and a smaller one came after")

    def newest_epoch() -> int:
        found = store.load_checkpoint(NAME)
        return found.epoch if found else 0

    def read(running: Callable[[], bool]) -> None:
        seen = 0
        while running():
            epoch = newest_epoch()
            require(epoch >= seen, f"epoch {seen} was there, then {epoch}")
            seen = epoch

    at_once([partial(save, epoch) for epoch in range(1, 1 + _THREADS)], [read] * 2)
    require_equal(newest_epoch(), _THREADS, "the epoch of the checkpoint after all")


def of_those_who_ask_at_once_one_gets_the_lease(store: CheckpointStore) -> None:
    """And everybody is told the same owner and epoch."""
    for number in range(8):
        name = f"name {number}"
        asking = [
            partial(store.acquire_lease, name, f"owner {owner}", LONG) for owner in range(_THREADS)
        ]
        told = {(lease.owner, lease.epoch) for lease in at_once(asking)}
        require_equal(len(told), 1, f"number of leases among {told}")


def an_epoch_is_one_owners(store: CheckpointStore) -> None:
    """However often a lease changes hands, by running out or by being given back."""

    def ask(number: int) -> list[Lease]:
        owner = f"owner {number}"
        leases = []
        for turn in range(_SAVES):
            leases.append(store.acquire_lease(NAME, owner, LONG if turn % 2 else 0))
            store.release_lease(NAME, owner)
        return leases

    owners: dict[int, set[str]] = {}
    for leases in at_once([partial(ask, number) for number in range(_THREADS)]):
        epochs = [lease.epoch for lease in leases]
        require_equal(epochs, sorted(epochs), "epochs one of them was told")
        for lease in leases:
            owners.setdefault(lease.epoch, set()).add(lease.owner)
    shared = {epoch: names for epoch, names in owners.items() if len(names) > 1}
    require_equal(shared, {}, "epochs of more than one owner")


CHECKS = (
    slots_saved_together_are_seen_together,
    threads_that_save_slots_of_their_own_lose_none,
    a_smaller_epoch_never_overwrites_a_larger,
    of_those_who_ask_at_once_one_gets_the_lease,
    an_epoch_is_one_owners,
)
