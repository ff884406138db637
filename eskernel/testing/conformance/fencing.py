"""Fencing: who has lost a lease appends nothing under it any more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from eskernel.contracts import Commit, EventStore, Fence, FencingEventStore
from eskernel.errors import ConcurrencyConflict, NotStorable, StaleEpoch
from eskernel.testing.conformance.batches import commit_of, positions_of
from eskernel.testing.conformance.checking import Reopen
from eskernel.testing.conformance.leases import LONG
from eskernel.testing.conformance.samples import IDENTIFIERS
from eskernel.testing.conformance.tools import (
    OTHER,
    STREAM,
    log_of,
    payloads_of,
    require,
    require_conflict,
    require_equal,
    require_increasing,
    require_unchanged,
)
from eskernel.values import StreamId

SHARD: Final = "shard/7"
ANOTHER: Final = "shard/8"


class Store(EventStore, FencingEventStore, Protocol):
    """What these checks need."""


def taken(store: FencingEventStore, owner: str, seconds: float = 0, name: str = SHARD) -> Fence:
    """Return the fence of a lease that an owner takes; of 0 seconds, so that others can too."""
    (lease,) = store.acquire_leases([name], owner, seconds)
    require_equal(lease.owner, owner, f"the owner of {name!a}")
    return Fence(name, lease.epoch)


def append(store: Store, fence: Fence | None, *commits: Commit) -> Sequence[int | Exception]:
    """Append commits in one batch, all under one fence."""
    return store.append_fenced(commits, [fence] * len(commits))


def require_stale(result: object, fence: Fence, newest: int) -> None:
    """Raise AssertionError unless a commit was refused for its fence, and says why."""
    require(isinstance(result, StaleEpoch), f"expected StaleEpoch, found {result!r}")
    facts = [getattr(result, name) for name in ("name", "epoch", "newest")]
    require_equal(facts, [*fence, newest], "the facts of StaleEpoch")


def an_append_under_the_newest_epoch_is_stored(store: Store) -> None:
    """Before and after the lease is renewed; so is one that depends on nothing."""
    require_equal(list(append(store, None)), [], "results of an empty batch")
    positions = []
    for number in range(3):
        fence = taken(store, "first", LONG)
        chain = [commit_of(STREAM, 2 * number + index, index) for index in range(2)]
        positions += positions_of(append(store, fence, *chain))
        positions += positions_of(append(store, None, commit_of(OTHER, number, number)))
    require_increasing(positions, "positions returned")
    require_equal([event.position for event in log_of(store)], positions, "positions in the log")
    require_equal(payloads_of(store, STREAM), [0, 1] * 3, "payloads")


def an_append_under_an_older_epoch_stores_nothing(store: Store) -> None:
    """However often the lease has changed hands; alone and in a batch, and on a new stream too."""
    fences = [taken(store, owner) for owner in ("first", "second", "first", "third")]
    newest = fences[-1]
    positions_of(append(store, newest, commit_of(STREAM, 0, "one")))
    before = log_of(store)
    for old in fences[:-1]:
        require_stale(append(store, old, commit_of(STREAM, 1, "lost"))[0], old, newest.epoch)
        several = [commit_of(STREAM, 1, "a", "b"), commit_of(OTHER, 0, "c"), commit_of(OTHER, 1, 0)]
        for result in append(store, old, *several):
            require_stale(result, old, newest.epoch)
    require_unchanged(store, before, "appends under older epochs")
    positions_of(append(store, newest, commit_of(STREAM, 1, "two"), commit_of(OTHER, 0, "one")))


def an_epoch_that_nobody_was_given_stores_nothing(store: Store) -> None:
    """Of a name without leases, or beyond the newest; once it is given it does."""
    early = Fence(SHARD, 1)
    require_stale(append(store, early, commit_of(STREAM, 0, "lost"))[0], early, 0)
    held = taken(store, "first")
    ahead = Fence(SHARD, held.epoch + 1)
    require_stale(append(store, ahead, commit_of(STREAM, 0, "lost"))[0], ahead, held.epoch)
    require_unchanged(store, [], "appends under epochs of nobody")
    while held.epoch < ahead.epoch:
        held = taken(store, f"owner {held.epoch}")
    positions_of(append(store, held, commit_of(STREAM, 0, "one")))


def a_lease_counts_until_another_has_it(store: Store) -> None:
    """Also when it has run out, or was given back; then its epoch is stale at once."""
    first = taken(store, "first")
    positions_of(append(store, first, commit_of(STREAM, 0, "ran out")))
    store.release_leases([SHARD], "first")
    positions_of(append(store, first, commit_of(STREAM, 1, "given back")))
    second = taken(store, "second", LONG)
    require_stale(append(store, first, commit_of(STREAM, 2, "lost"))[0], first, second.epoch)
    positions_of(append(store, second, commit_of(STREAM, 2, "two")))
    store.release_leases([SHARD], "second")
    again = taken(store, "second", LONG)
    require_stale(append(store, second, commit_of(STREAM, 3, "lost"))[0], second, again.epoch)
    require_equal(payloads_of(store, STREAM), ["ran out", "given back", "two"], "payloads")


def an_append_sent_again_is_a_success_under_any_epoch(store: Store) -> None:
    """By its own append id, whether it was fenced or not; what follows it in a chain is refused."""
    old = taken(store, "first")
    chain = [commit_of(STREAM, number, number, append_id=number) for number in range(3)]
    plain = commit_of(OTHER, 0, "plain", append_id=9)
    positions = positions_of(append(store, old, *chain[:2]))
    positions += positions_of([store.append(OTHER, plain.events, expected_sequence=0, append_id=9)])
    newest = taken(store, "second")
    before = log_of(store)
    *again, late = append(store, old, *chain[:2], plain, chain[2])
    require_equal(again, positions, "positions of appends sent again under an older epoch")
    require_stale(late, old, newest.epoch)
    (other,) = append(store, old, chain[1]._replace(append_id=99))
    require_stale(other, old, newest.epoch)
    require_unchanged(store, before, "appends sent again under an older epoch")
    positions_of(append(store, newest, commit_of(STREAM, 2, "new owner's")))
    require_equal(append(store, old, chain[1])[0], positions[1], "position of one sent again")


def a_stale_commit_does_not_fail_its_neighbours(store: Store) -> None:
    """Of other fences, of the same name's newest epoch, or of none; nor do they fail for it."""
    old, new = taken(store, "first"), taken(store, "second")
    other = taken(store, "first", name=ANOTHER)
    positions_of(append(store, None, commit_of(OTHER, 0, "one")))
    streams = [("fenced", str(number)) for number in range(40)]
    fences = [old, new, None, other] * 10
    commits = [commit_of(stream_id, 0, *stream_id) for stream_id in streams]
    wrong = [commit_of(OTHER, 0, "lost"), commit_of(("fenced", "bad"), 0, object())]
    *results, conflict, bad = store.append_fenced([*commits, *wrong], [*fences, new, other])
    require_conflict(conflict, OTHER, 0, 1)
    require(isinstance(bad, NotStorable), f"expected NotStorable, found {bad!r}")
    for result, fence, stream_id in zip(results, fences, streams, strict=True):
        if fence == old:
            require_stale(result, old, new.epoch)
        else:
            positions_of([result])
        expected = [] if fence == old else [*stream_id]
        require_equal(payloads_of(store, stream_id), expected, f"payloads of {stream_id}")


def a_chain_breaks_at_a_stale_commit(store: Store) -> None:
    """The rest is refused too, even where it would fit by chance: it was decided on what failed."""
    old, new = taken(store, "first"), taken(store, "second")
    positions_of(append(store, new, commit_of(STREAM, 0, "the new owner's")))
    chains: tuple[tuple[Fence | None, ...], ...] = (
        *((old, old, old), (old, new, new)),
        *((old, None, new), (new, old, new)),
    )
    for number, fences in enumerate(chains):
        head = len(payloads_of(store, STREAM))
        first = head if fences[0] == new else head - 1
        chain = [commit_of(STREAM, first + index, index) for index in range(3)]
        beside = commit_of(("beside", str(number)), 0, number)
        *results, fine = store.append_fenced([*chain, beside], [*fences, new])
        for result, fence in zip(results, fences, strict=True):
            if fence == old:
                require_stale(result, old, new.epoch)
        broken = results[fences.index(old) :]
        for result in broken:
            is_refused = isinstance(result, (StaleEpoch, ConcurrencyConflict))
            require(is_refused, f"a broken chain went on: {result!r}")
        stored = positions_of([*results[: -len(broken)], fine])[:-1]
        require_equal(len(payloads_of(store, STREAM)), head + len(stored), "length of the stream")


def a_stale_epoch_comes_before_a_conflict(store: Store) -> None:
    """Whether the stream has moved on, or is not there yet."""
    old = taken(store, "first")
    positions_of(append(store, old, commit_of(STREAM, 0, "one", "two")))
    new = taken(store, "second")
    for expected in (0, 1, 3, 99):
        require_stale(append(store, old, commit_of(STREAM, expected, 0))[0], old, new.epoch)
        (result,) = append(store, new, commit_of(STREAM, expected, 0))
        require_conflict(result, STREAM, expected, 2)
    require_stale(append(store, old, commit_of(OTHER, 5, "lost"))[0], old, new.epoch)


def fences_of_any_names_stay_apart(store: Store) -> None:
    """Paths, wildcards, quotes, case, blanks, unicode forms: a name is another if a character is.

    One that no store can keep fails its own commit alone.
    """
    leases = store.acquire_leases(IDENTIFIERS, "first", 0)
    fences = [Fence(name, lease.epoch) for name, lease in zip(IDENTIFIERS, leases, strict=True)]
    streams: list[StreamId] = [("named", name) for name in IDENTIFIERS]
    store.acquire_leases(IDENTIFIERS[::2], "second", 0)
    commits = [commit_of(stream_id, 0, 1) for stream_id in streams]
    unfit = [Fence("nul\0", 1), Fence("lone \ud800", 1), Fence(SHARD, 2**63), Fence(SHARD, -1)]
    commits += [commit_of(("unfit", str(number)), 0, 1) for number in range(len(unfit))]
    results = store.append_fenced(commits, [*fences, *unfit])
    for fence, result in zip(fences[::2], results[: len(fences) : 2], strict=True):
        require_stale(result, fence, fence.epoch + 1)
    positions_of(results[1 : len(fences) : 2])
    for result in results[len(fences) :]:
        require(isinstance(result, Exception), f"an unfit fence was admitted: {result!r}")
    require_equal([event.stream_id for event in log_of(store)], streams[1::2], "streams stored")


def fences_outlive_closing(store: Store, reopen: Reopen[Store]) -> None:
    """Whoever was fenced off is, and whoever was not appends on."""
    old, new = taken(store, "first"), taken(store, "second", LONG)
    positions_of(append(store, new, commit_of(STREAM, 0, "one")))
    store = reopen(store)
    require_stale(append(store, old, commit_of(STREAM, 1, "lost"))[0], old, new.epoch)
    positions_of(append(store, new, commit_of(STREAM, 1, "two")))
    require_equal(payloads_of(store, STREAM), ["one", "two"], "payloads")


CHECKS = (
    an_append_under_the_newest_epoch_is_stored,
    an_append_under_an_older_epoch_stores_nothing,
    an_epoch_that_nobody_was_given_stores_nothing,
    a_lease_counts_until_another_has_it,
    an_append_sent_again_is_a_success_under_any_epoch,
    a_stale_commit_does_not_fail_its_neighbours,
    a_chain_breaks_at_a_stale_commit,
    a_stale_epoch_comes_before_a_conflict,
    fences_of_any_names_stay_apart,
)
DURABILITY_CHECKS = (fences_outlive_closing,)
