"""Audit: whether a projection has handled every matching position of the log, once, in order."""

from __future__ import annotations

from itertools import accumulate
from typing import NamedTuple

from eskernel.contracts import EventStore
from eskernel.projections.definition import Definition
from eskernel.projections.ledger import Handled, fingerprint, powers
from eskernel.projections.progress import Progress
from eskernel.values import Event, Range

_LOCATED = 100_000
"""Events in a range in which it is worth looking for which are missing."""


class Discrepancy(NamedTuple):
    """A range of positions in which log and projection differ.

    Attributes:
        start: its first position.
        stop: the position after its last.
        expected: matching events in the log.
        handled: events the projection has handled.
        missing: positions it has passed over; empty if they cannot be told.
        doubled: positions it has handled twice; empty if they cannot be told.
    """

    start: int
    stop: int
    expected: int
    handled: int
    missing: tuple[int, ...] = ()
    doubled: tuple[int, ...] = ()


class Audit(NamedTuple):
    """What an audit found.

    Attributes:
        position: how far the projection had come; everything up to there was looked at.
        proved: positions up to here need not be read again.
        events: matching events read from the log for it.
        discrepancies: where the two differ; empty if the projection is right.
        parked: positions put aside, which are accounted for and not applied.
        discarded: positions given up.
    """

    position: int
    proved: int
    events: int
    discrepancies: tuple[Discrepancy, ...]
    parked: tuple[int, ...]
    discarded: tuple[int, ...]

    @property
    def complete(self) -> bool:
        """Whether every matching position was handled once, in order."""
        return not self.discrepancies

    @property
    def missing(self) -> tuple[int, ...]:
        """All positions known to be missing."""
        return tuple(position for one in self.discrepancies for position in one.missing)

    @property
    def doubled(self) -> tuple[int, ...]:
        """All positions known to have been handled twice."""
        return tuple(position for one in self.discrepancies for position in one.doubled)


def audit(
    definition: Definition, store: EventStore, progress: Progress, *, full: bool = False
) -> Audit:
    """Compare what a projection has handled with the log.

    Args:
        definition: tells which events match.
        store: the log.
        progress: of the projection; its ledger is compared.
        full: whether to read what was proved before once more.

    Raises:
        StoreUnavailable, CorruptStore: the store's.
    """
    ledger = progress.ledger
    ranges = ([ledger.proved] if full and ledger.proved.events else []) + [*ledger.ranges]
    proved = 1 if full and ledger.proved.events else ledger.proved.stop
    events = 0
    found: list[Discrepancy] = []
    for handled in ranges:
        expected = _matching(definition, store, handled)
        events += len(expected)
        difference = _difference(expected, handled)
        if difference is not None:
            found.append(difference)
        elif not found:
            proved = handled.stop
    parked = tuple(one.position for one in progress.parked)
    return Audit(progress.position, proved - 1, events, tuple(found), parked, progress.discarded)


def _matching(definition: Definition, store: EventStore, handled: Handled) -> list[int]:
    """Return the positions in a range that the projection must have handled."""

    def note(positions: list[int], event: Event) -> list[int]:
        if _is_wanted(definition, event):
            positions.append(event.position)  # type: ignore[arg-type]  # it is in the log
        return positions

    positions: list[int] = []
    store.fold_all(
        note,
        positions,
        Range(handled.start, handled.stop),
        types=definition.event_types,
        aggregate_types=definition.aggregate_types,
    )
    return positions


def _is_wanted(definition: Definition, event: Event) -> bool:
    try:
        return definition.wants(definition.read(event))
    except Exception:  # noqa: BLE001 - the user's
        return True  # so it failed when it was its turn, and was put aside


def _difference(expected: list[int], handled: Handled) -> Discrepancy | None:
    if len(expected) == handled.events and fingerprint(expected) == handled.fingerprint:
        return None
    surplus = handled.events - len(expected)
    run: tuple[int, ...] = ()
    if surplus and len(expected) <= _LOCATED:
        run = _run(expected, handled.fingerprint, surplus)
    return Discrepancy(
        handled.start,
        handled.stop,
        len(expected),
        handled.events,
        run if surplus < 0 else (),
        run if surplus > 0 else (),
    )


def _run(expected: list[int], found: int, surplus: int) -> tuple[int, ...]:
    """Return the run of positions whose lack, or repetition, explains a fingerprint.

    One position, or one batch, that was lost or repeated is such a run. With the fingerprints of
    all beginnings at hand, each candidate is one multiplication.
    """
    length, size = abs(surplus), len(expected)
    beginnings = [0, *accumulate(expected, lambda before, one: fingerprint((one,), before))]
    factors = powers(size)
    whole = beginnings[size]
    for start in range(size - length + 1):
        stop = start + length
        if surplus < 0:  # the beginning, then what comes after the run
            without = (beginnings[start] - beginnings[stop]) * factors[size - stop]
            explained = fingerprint((without + whole,))
        else:  # up to the run's end, then on from its start
            again = (beginnings[stop] - beginnings[start]) * factors[size - start]
            explained = fingerprint((again + whole,))
        if explained == found:
            return tuple(expected[start:stop])
    return ()
