"""copy_store: from one store to another, event by event, and verified."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Final

from eskernel.contracts import EventStore
from eskernel.contracts.plugging import check_event_store
from eskernel.errors import CorruptStore
from eskernel_stores.copying.comparing import Different, Survey, check_streams, survey
from eskernel_stores.copying.progress import Advance, Progress, Stages
from eskernel_stores.copying.reading import events_of
from eskernel_stores.copying.writing import runs_of, write_runs

LEFT_OUT: Final = (
    "Positions are renumbered; snapshots and checkpoints are not copied: they are rebuilt from the "
    "events."
)


@dataclass(frozen=True, slots=True)
class CopyReport:
    """A copy that was verified.

    Attributes:
        events: in the copy.
        streams: in the copy.
        copied: events copied by this very call.
        already_there: events that an earlier, interrupted or shorter copy had left.
        digest: SHA-256 of the decoded events of either log but for their positions, as 64
            hexadecimal digits; equal for equal stores, whatever their backends.
        until: the source's position up to which it was copied.
        seconds: how long it took, verification included.
        left_out: what is not in the copy, in words.
    """

    events: int
    streams: int
    copied: int
    already_there: int
    digest: str
    until: int
    seconds: float
    left_out: str = LEFT_OUT


def copy_store(
    source: EventStore,
    target: EventStore,
    *,
    progress: Progress | None = None,
    batch: int = 1000,
) -> CopyReport:
    """Copy every event of a store into another, and prove that both say the same.

    Streams, sequences, the order of the log, payloads, metadata, tags, timestamps and command ids,
    and with them the receipts, are kept. Positions are renumbered; snapshots and checkpoints are
    not copied: they are rebuilt from the events. What is appended to the source meanwhile is left
    for the next call.

    First the source is read whole, its log and each stream by itself, so that nothing is written if
    it cannot be. An interrupted copy goes on where it was when it is called again: a target that
    holds a beginning of the source's log is completed, and any other that is not empty is refused.
    At last both logs are folded again and compared, and each stream of the target with its part of
    the log. Nobody else may write to the target.

    Takes some 400 bytes of memory for each stream.

    Args:
        source: an event store; open it with the `types` of its domains, if they declare any.
        target: another event store, empty or a copy to continue; open it with the same `types`.
        progress: called now and then with what is being done and the fraction of the whole that
            is done, from 0.0 to 1.0.
        batch: events read at once, and appended in one durable write.

    Returns:
        What was copied.

    Raises:
        ValueError: source and target are one store, or the target holds something else than a
            beginning of the source; nothing was changed.
        TypeError: one of them is no event store.
        InvalidDomain: an event holds a type that is not declared to its store.
        ConcurrencyConflict: somebody else writes to the target.
        StoreUnavailable: a store could not be reached; call again to continue.
        CorruptStore: an event of the source cannot be read; or the copy is not like the source,
            with the stream and sequence of the first event that differs.
    """
    _check(source, target, batch)
    began, stages = perf_counter(), Stages(progress)
    until = source.last_position()
    before = _compare(source, target, until, batch, stages.begin())
    check_streams("source", source, before.streams, advance=stages.begin())
    _copy(source, target, before.shared_until, until, batch, stages.begin())
    _verify(source, target, before, until, batch, stages.begin())
    check_streams("target", target, before.streams, advance=stages.begin())
    stages.finish()
    return CopyReport(
        events=before.events,
        streams=len(before.streams),
        copied=before.events - before.shared,
        already_there=before.shared,
        digest=before.digest,
        until=until,
        seconds=perf_counter() - began,
    )


def _check(source: EventStore, target: EventStore, batch: int) -> None:
    check_event_store(source)
    check_event_store(target)
    if source is target:
        raise ValueError("source and target are one store; open another to copy into")
    if not isinstance(batch, int) or isinstance(batch, bool) or batch < 1:
        raise ValueError(f"batch must be a whole number of at least 1, not {batch!r}")


def _compare(
    source: EventStore, target: EventStore, until: int, batch: int, advance: Advance
) -> Survey:
    """Return what there is to copy; refuse a target that is not a beginning of it."""
    try:
        return survey(source, target, until, batch, advance)
    except Different as difference:
        raise ValueError(
            f"the target is not empty, and no copy of the source to continue: {difference}; "
            "copy into an empty store (nothing was changed)"
        ) from None


def _copy(
    source: EventStore, target: EventStore, after: int, until: int, batch: int, advance: Advance
) -> None:
    runs = runs_of(events_of(source, after, until, batch), batch)
    for event in write_runs(target, runs, batch):
        advance((event.position or 0) / until)


def _verify(
    source: EventStore, target: EventStore, before: Survey, until: int, batch: int, advance: Advance
) -> None:
    """Fold both logs again, and compare them with each other and with what was read before."""
    try:
        after = survey(source, target, until, batch, advance, whole=True)
    except Different as difference:
        event = difference.event or difference.other
        raise CorruptStore(
            f"the copy differs from the source: {difference}; if nobody else wrote to the target, "
            "one of the stores is at fault: do not use the copy, and copy into an empty store",
            event and event.stream_id,
            event and event.sequence,
        ) from None
    if after.digest != before.digest:
        raise CorruptStore(
            f"the source has changed while it was copied: its first {before.events} events had "
            f"the digest {before.digest}, and now have {after.digest}; do not use the copy"
        )
