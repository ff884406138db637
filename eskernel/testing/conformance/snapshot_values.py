"""Snapshots come back exactly as they were given."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from eskernel.codec import Codec
from eskernel.contracts import SnapshotStore
from eskernel.errors import NotStorable
from eskernel.testing.conformance.samples import PAYLOADS
from eskernel.testing.conformance.tools import (
    CODEC,
    OTHER,
    STREAM,
    is_same,
    latest,
    require,
    require_equal,
    require_raises,
)
from eskernel.values import Receipt, Snapshot


@dataclass(frozen=True)
class _Declared:
    amount: Any


def snapshots_come_back_exactly(store: SnapshotStore) -> None:
    """State, version, receipts and timestamp; given open as given sealed."""
    receipts = (Receipt("c-1", 1, 1), Receipt("\U0001f600'", 2, 2**40))
    for sequence, state in enumerate((*PAYLOADS, list(PAYLOADS)), 1):
        given = Snapshot(STREAM, sequence, state, "\U0001f600 v", receipts, 1_700_000_000_123)
        for form in (given, given.sealed(CODEC.pack, CODEC.unpack)):
            store.store(form)
            found = latest(store)
            require(is_same(found.state, state), f"state {state!r} came back as {found.state!r}")
            rest = [(snapshot[:2], snapshot[3:6]) for snapshot in (found, given)]
            require_equal(rest[0], rest[1], "all but the state")
            types = {type(receipt) for receipt in found.receipts} | {type(found.receipts)}
            require_equal(types, {Receipt, tuple}, "types of the receipts")
    store.store(Snapshot(OTHER, 1, None))
    require_equal(latest(store, OTHER), Snapshot(OTHER, 1, None), "a snapshot of nothing much")


def a_state_of_declared_types_is_read_with_the_readers_codec(store: SnapshotStore) -> None:
    """A store neither decodes what it keeps nor needs to know its types."""
    codec = Codec([_Declared])
    given = Snapshot(STREAM, 1, {"balance": _Declared((1, 2))})
    store.store(given.sealed(codec.pack, codec.unpack))
    require_equal(latest(store).read_with(codec.unpack).state, given.state, "the state")


def a_large_state_comes_back(store: SnapshotStore) -> None:
    """A million bytes."""
    state = bytes(range(250)) * 4000
    store.store(Snapshot(STREAM, 1, state))
    require(latest(store).state == state, "a large state came back changed")


def an_unstorable_state_is_refused(store: SnapshotStore) -> None:
    """NotStorable; the snapshot that was there still is."""
    store.store(Snapshot(STREAM, 1, "good"))
    for sequence in (1, 2):
        bad = Snapshot(STREAM, sequence, {"k": object()})
        require_raises(NotStorable, partial(store.store, bad))
        require_equal(latest(store), Snapshot(STREAM, 1, "good"), "the snapshot")


def states_handed_in_or_out_are_not_shared(store: SnapshotStore) -> None:
    """Neither the writer's nor a reader's changes reach the store."""
    state = {"lines": [1]}
    store.store(Snapshot(STREAM, 1, state))
    for changed in (state, latest(store).state, latest(store).state):
        changed["lines"].append(2)
        changed.clear()
        require_equal(latest(store).state, {"lines": [1]}, "the state")


CHECKS = (
    snapshots_come_back_exactly,
    a_state_of_declared_types_is_read_with_the_readers_codec,
    a_large_state_comes_back,
    an_unstorable_state_is_refused,
    states_handed_in_or_out_are_not_shared,
)
