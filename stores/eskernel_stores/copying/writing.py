"""Writing: events of a log as commits, and commits as few durable writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

from eskernel.contracts import BatchingEventStore, Commit, EventStore
from eskernel.errors import ConcurrencyConflict
from eskernel.values import Event
from eskernel_stores.copying.fingerprints import Fingerprints, facts_of
from eskernel_stores.copying.reading import MAX_BYTES, size_of

_OVERFULL: Final = 16
"""Times the size of a full commit at which even the events of one command are parted."""


class Run(NamedTuple):
    """Events that follow each other both in the log and in their stream.

    Attributes:
        events: one or more.
        size: bytes of their payloads and metadata.
    """

    events: list[Event]
    size: int


def runs_of(events: Iterable[Event], batch: int) -> Iterator[Run]:
    """Yield the runs of a log, each to become one commit.

    Where a run begins depends on nothing but the events before it, so that an interrupted copy
    makes the same commits again. A full run ends before the next command: what a command stored
    stays one append, whose events a receipt finds at consecutive positions.

    Args:
        events: in position order.
        batch: events of a full run.
    """
    run: list[Event] = []
    size = 0
    for event in events:
        if run and (
            event.stream_id != run[-1].stream_id or _ends(run[-1], event, run, size, batch)
        ):
            yield Run(run, size)
            run, size = [], 0
        run.append(event)
        size += size_of(event)
    if run:
        yield Run(run, size)


def _ends(last: Event, event: Event, run: list[Event], size: int, batch: int) -> bool:
    fullness = max(len(run) / batch, size / MAX_BYTES)
    another = event.command_id is None or event.command_id != last.command_id
    return fullness >= (1 if another else _OVERFULL)


def write_runs(target: EventStore, runs: Iterable[Run], batch: int) -> Iterator[Event]:
    """Append runs, many in one durable write.

    Args:
        target: where to.
        runs: in order of the log.
        batch: events of a write that is full.

    Yields:
        The last event of each write, once it is stored.

    Raises:
        ConcurrencyConflict: somebody else writes to the target.
        StoreUnavailable: the target could not be reached.
    """
    values = Fingerprints()
    commits: list[Commit] = []
    count = size = 0
    for run in runs:
        commits.append(_commit_of(run, values))
        count += len(run.events)
        size += run.size
        if count >= batch or size >= MAX_BYTES:
            yield _write(target, commits)
            commits, count, size = [], 0, 0
    if commits:
        yield _write(target, commits)


def _commit_of(run: Run, values: Fingerprints) -> Commit:
    first = run.events[0]
    return Commit(first.stream_id, run.events, first.sequence - 1, _append_id(run, values))


def _append_id(run: Run, values: Fingerprints) -> int:
    """Return a number that only this append has, each time it is made."""
    digest = blake2b(digest_size=16)
    for event in run.events:
        if event.unpack is None:
            body, header = values.pack(event.body, "payload"), values.pack(dict(event.header), "")
        else:
            body, header = event.body, event.header
        digest.update(b"".join((facts_of(event, len(body)), body, header)))
    return int.from_bytes(digest.digest())


def _write(target: EventStore, commits: Sequence[Commit]) -> Event:
    """Store commits in one write if the target can; return the last event."""
    if isinstance(target, BatchingEventStore):
        for outcome in target.append_batch(commits):
            if isinstance(outcome, ConcurrencyConflict):
                raise _disturbed(outcome) from outcome
            if isinstance(outcome, Exception):
                raise outcome
    else:
        for commit in commits:
            _append(target, commit)
    return commits[-1].events[-1]


def _append(target: EventStore, commit: Commit) -> None:
    stream_id, events, expected, append_id = commit
    try:
        target.append(stream_id, events, expected_sequence=expected, append_id=append_id)
    except ConcurrencyConflict as error:
        raise _disturbed(error) from error


def _disturbed(conflict: ConcurrencyConflict) -> ConcurrencyConflict:
    """Return a conflict that says what it means to a copy."""
    error = ConcurrencyConflict(conflict.stream_id, conflict.expected, conflict.actual)
    message = (
        f"somebody else writes to the target: its stream {error.stream_id} is at sequence "
        f"{error.actual}, not {error.expected}; stop them, and copy into an empty store"
    )
    error.args = (message,)
    return error
