"""Leases that change hands in the middle of appends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from threading import Semaphore
from typing import Final

from eskernel.contracts import Fence
from eskernel.errors import StaleEpoch
from eskernel.testing.conformance.batches import commit_of, positions_of
from eskernel.testing.conformance.fencing import ANOTHER, Store, append, taken
from eskernel.testing.conformance.leases import LONG
from eskernel.testing.conformance.threads import DEADLINE, at_once
from eskernel.testing.conformance.tools import (
    log_of,
    payloads_of,
    require,
    require_equal,
)
from eskernel.values import Lease, StreamId

_ROUNDS: Final = 24
_WRITERS: Final = 4
_TURNS: Final = 12
_OWNERS: Final = 4


def nothing_is_appended_under_an_epoch_once_another_has_the_lease(store: Store) -> None:
    """Its new owner finds in the streams all that is ever appended under the old one.

    Others append meanwhile under another lease, and are not disturbed.
    """
    undisturbed = taken(store, "another", LONG, ANOTHER)
    for number in range(_ROUNDS):
        old = taken(store, f"old {number}")
        warm = Semaphore(0)
        streams: list[StreamId] = [(f"round {number}", str(index)) for index in range(_WRITERS)]
        jobs: list[Callable[[], list[int]]] = [
            partial(_append_until_stale, store, old, stream_id, 1 + index % 2, warm)
            for index, stream_id in enumerate(streams)
        ]
        take_over = partial(_take_over, store, f"new {number}", streams, warm)
        aside = partial(_append_aside, store, undisturbed, ("aside", str(number)))
        seen, *written, _ = at_once([take_over, *jobs], [aside])
        for stream_id, found, acknowledged in zip(streams, seen, written, strict=True):
            now = payloads_of(store, stream_id)
            require_equal(now, [*found, "the new owner's"], f"payloads of {stream_id}")
            require_equal(found, acknowledged, f"payloads that were acknowledged of {stream_id}")


def epochs_never_fall_in_the_log(store: Store) -> None:
    """However many take a lease from each other and append under it, each to another stream."""

    def live(owner: str) -> None:
        number = 0
        for _ in range(_TURNS):
            fence = taken(store, owner)
            for _ in range(2):
                (result,) = append(store, fence, commit_of(("of", owner), number, fence.epoch))
                is_stored = isinstance(result, int)
                fails = f"expected a position or StaleEpoch, found {result!r}"
                require(is_stored or isinstance(result, StaleEpoch), fails)
                number += is_stored

    at_once([partial(live, f"owner {number}") for number in range(_OWNERS)])
    epochs = [event.payload for event in log_of(store)]
    require_equal(epochs, sorted(epochs), "epochs, in the order of the log")


def of_owners_who_ask_for_many_names_at_once_each_gets_some(store: Store) -> None:
    """Every name is exactly one's, and all are told whose; nobody waits for ever."""
    names = [f"name {number}" for number in range(48)]
    orders = [names, names[::-1], names[16:] + names[:16], names[1::2] + names[::2]]

    def ask(order: Sequence[str], owner: str) -> list[dict[str, Lease]]:
        told = []
        for turn in range(_TURNS):
            mine = order[turn:]
            leases = store.acquire_leases(mine, owner, LONG)
            told.append(dict(zip(mine, leases, strict=True)))
            store.release_leases(mine[::-1], owner)
        return told

    asking = [partial(ask, order, f"owner {number}") for number, order in enumerate(orders)]
    owners: dict[tuple[str, int], set[str]] = {}
    for told in at_once(asking):
        for leases in told:
            for name, lease in leases.items():
                owners.setdefault((name, lease.epoch), set()).add(lease.owner)
    shared = {epoch: found for epoch, found in owners.items() if len(found) > 1}
    require_equal(shared, {}, "epochs of more than one owner")
    for name in names:
        require_equal(taken(store, "last", LONG, name).name, name, "a lease that was given back")


def _append_until_stale(
    store: Store, fence: Fence, stream_id: StreamId, length: int, warm: Semaphore
) -> list[int]:
    """Append chains of so many commits until one is refused; return what was acknowledged."""
    acknowledged: list[int] = []
    while True:
        start = len(acknowledged)
        chain = [commit_of(stream_id, start + index, start + index) for index in range(length)]
        results = append(store, fence, *chain)
        stored = [result for result in results if isinstance(result, int)]
        acknowledged += range(start, start + len(stored))
        warm.release()
        if len(stored) < length:
            refused = results[len(stored)]
            require(isinstance(refused, StaleEpoch), f"expected StaleEpoch, found {refused!r}")
            return acknowledged


def _take_over(
    store: Store, owner: str, streams: Sequence[StreamId], warm: Semaphore
) -> list[list[int]]:
    """Take the lease while others append; append to what is found then, and return that."""
    for _ in streams:
        require(warm.acquire(timeout=DEADLINE), "nothing was appended under the old epoch")
    fence = taken(store, owner)
    found = [payloads_of(store, stream_id) for stream_id in streams]
    commits = [
        commit_of(stream_id, len(payloads), "the new owner's")
        for stream_id, payloads in zip(streams, found, strict=True)
    ]
    positions_of(append(store, fence, *commits))
    return found


def _append_aside(
    store: Store, fence: Fence, stream_id: StreamId, running: Callable[[], bool]
) -> None:
    """Append under another lease, of which nobody takes notice."""
    number = 0
    while running():
        positions_of(append(store, fence, commit_of(stream_id, number, number)))
        number += 1


CHECKS = (
    nothing_is_appended_under_an_epoch_once_another_has_the_lease,
    epochs_never_fall_in_the_log,
    of_owners_who_ask_for_many_names_at_once_each_gets_some,
)
