"""Hydration: an aggregate's state from its newest fitting snapshot and the events after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from eskernel.actors.journal import log_safely
from eskernel.errors import (
    AggregateCrashed,
    CorruptStore,
    EskernelError,
    InvalidDomain,
    ReentrantDispatch,
    StoreUnavailable,
)
from eskernel.values import Event, Range, Snapshot, StreamId

if TYPE_CHECKING:
    from collections.abc import Callable

    from eskernel.actors.aggregate.bound_domain import BoundDomain
    from eskernel.actors.aggregate.services import Services


A = TypeVar("A")
Receipts = dict[str, tuple[int, int]]
"""From command id to the first and last sequence it stored, oldest first."""


class Folded(NamedTuple):
    """An aggregate as its events make it.

    Attributes:
        state: the domain's state.
        sequence: the last event folded in.
        receipts: the newest commands that stored events; None when no command had an id.
    """

    state: Any
    sequence: int
    receipts: Receipts | None


def hydrate(services: Services, domain: BoundDomain, stream_id: StreamId) -> Folded:
    """Return an aggregate's present state.

    Raises:
        AggregateCrashed: the domain cannot fold its own events; `__cause__` tells.
        ReentrantDispatch: it called back into the kernel.
        StoreUnavailable, CorruptStore: the store's; any surprise of its is StoreUnavailable.
    """
    snapshot = _fitting_snapshot(services, domain, stream_id)
    if snapshot is not None:
        try:
            receipts = {command_id: (first, last) for command_id, first, last in snapshot.receipts}
            start = Folded(snapshot.state, snapshot.sequence, receipts or None)
            return catch_up(services, domain, stream_id, start)
        except (AggregateCrashed, CorruptStore, InvalidDomain) as error:
            log_safely("warning", "snapshot_unusable", stream_id=stream_id, exc_info=error)
    try:
        start = Folded(domain.init(), 0, None)
    except ReentrantDispatch:
        raise
    except Exception as error:
        raise AggregateCrashed(
            f"{stream_id} cannot be started: {type(error).__name__}: {error}; "
            "mend the domain's init",
            stream_id,
        ) from error
    return catch_up(services, domain, stream_id, start)


def catch_up(services: Services, domain: BoundDomain, stream_id: StreamId, start: Folded) -> Folded:
    """Return `start` with all later events folded in; raises as `hydrate`."""
    _, sequence, receipts = start
    apply_event, unpack, kept = domain.apply_event, domain.unpack, services.receipts_kept
    noted = dict(receipts) if receipts else {}

    def evolve(state: Any, event: Event) -> Any:
        nonlocal sequence
        if event.sequence != sequence + 1:
            raise CorruptStore(
                f"{stream_id}: event {sequence + 1} is missing, found {event.sequence}; "
                "restore the stream from a backup",
                stream_id,
                sequence + 1,
            )
        sequence += 1
        if event.command_id is not None:
            note_receipt(noted, event.command_id, sequence, kept)
        try:
            payload = event.payload if event.unpack is None else unpack(event.body)
            return apply_event(payload, state)
        except (CorruptStore, ReentrantDispatch):
            raise
        except Exception as error:
            raise _failed(stream_id, sequence, error) from error

    try:
        state = fold(services, stream_id, evolve, start.state, Range(sequence + 1))
    except CorruptStore as error:
        if error.stream_id is not None:
            raise
        raise CorruptStore(f"{stream_id}: {error}", stream_id, sequence) from error
    return Folded(state, sequence, noted or None)


def fold(
    services: Services,
    stream_id: StreamId,
    function: Callable[[A, Event], A],
    initial: A,
    range: Range,
) -> A:
    """Fold a stream; whatever a store should not have raised is StoreUnavailable."""
    try:
        return services.store.fold(stream_id, function, initial, range)
    except EskernelError:
        raise
    except Exception as error:
        raise StoreUnavailable.because(error, outcome_unknown=False) from error


def note_receipt(receipts: Receipts, command_id: str, sequence: int, kept: int) -> None:
    """Enter one event of a command: the next of its events, or the first of a later repeat.

    A repeat stores events when a kernel that keeps fewer receipts had forgotten the first.
    """
    first, last = receipts.pop(command_id, (sequence, sequence - 1))
    receipts[command_id] = (first if last == sequence - 1 else sequence, sequence)
    trim_receipts(receipts, kept)


def trim_receipts(receipts: Receipts, kept: int) -> None:
    """Forget all but the newest `kept`."""
    while len(receipts) > kept:
        del receipts[next(iter(receipts))]


def _failed(stream_id: StreamId, sequence: int, cause: Exception) -> AggregateCrashed:
    # An InvalidDomain says itself what to do.
    advice = "" if isinstance(cause, InvalidDomain) else "; mend the domain's apply_event"
    return AggregateCrashed(
        f"{stream_id} cannot be rebuilt, as its event {sequence} fails: "
        f"{type(cause).__name__}: {cause}{advice}",
        stream_id,
    )


def _fitting_snapshot(
    services: Services, domain: BoundDomain, stream_id: StreamId
) -> Snapshot | None:
    if services.snapshots is None:
        return None
    try:
        snapshot = services.snapshots.load_latest(stream_id)
    except Exception as error:  # noqa: BLE001 - a snapshot is only an optimisation
        log_safely("warning", "snapshot_not_loaded", stream_id=stream_id, exc_info=error)
        return None
    if snapshot is None:
        return None
    if snapshot.version != domain.version:
        log_safely(
            "info", "snapshot_of_other_version", stream_id=stream_id, version=snapshot.version
        )
        return None
    if not _reaches(services, stream_id, snapshot.sequence):
        log_safely(
            "warning", "snapshot_ahead_of_stream", stream_id=stream_id, sequence=snapshot.sequence
        )
        return None
    return snapshot.read_with(domain.unpack)


def _reaches(services: Services, stream_id: StreamId, sequence: int) -> bool:
    """Return whether the stream holds an event of that sequence."""
    return fold(services, stream_id, _count, 0, Range(sequence, sequence + 1)) == 1


def _count(number: int, _event: Event) -> int:
    return number + 1
