"""The inspection: whether a store that was opened again holds what it must, and nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from eskernel.contracts import EventStore, SnapshotStore
from eskernel.testing.conformance.tools import (
    page_of,
    require,
    require_equal,
    require_increasing,
    stream_of,
)
from eskernel.testing.crash.appends import TYPE, Append, snapshot_of
from eskernel.testing.crash.ledger import Ledger
from eskernel.values import Event, StreamId


@dataclass
class Finding:
    """What an inspection saw.

    Attributes:
        positions: of the last event of each append there, by token.
        heads: last sequence of each stream.
        events: how many there are.
    """

    positions: dict[str, int] = field(default_factory=dict)
    heads: dict[str, int] = field(default_factory=dict)
    events: int = 0


def inspect(store: EventStore, ledger: Ledger, seed: int) -> Finding:
    """Hold a store to everything its writers know.

    Raises:
        AssertionError: an acknowledged append is missing or elsewhere, a part of an append is
            there, a sequence has a hole, positions do not increase, log and streams differ, or
            something is there that was never written, was refused, or is not what was written.
    """
    finding = whole_log(store, ledger, seed)
    missing = [token for token in ledger.stored if token not in finding.positions]
    require(not missing, f"{len(missing)} acknowledged appends are lost: {missing[:5]}")
    for token, position in finding.positions.items():
        require(token not in ledger.forbidden, f"{token} is there, though it was refused")
        require_equal(position, ledger.stored.get(token, position), f"position of {token}")
        floor = ledger.floors[token]
        require(position > floor, f"{token} is at {position}, begun after {floor} was seen")
    return finding


def whole_log(store: EventStore, ledger: Ledger, seed: int) -> Finding:
    """Return what a store holds, which must be whole appends that were tried, in order."""
    log, reached = page_of(store)
    require_equal(reached, store.last_position(), "last position, against the log's end")
    positions = [event.position or 0 for event in log]
    require_increasing([0, *positions], "positions of the log")
    finding = Finding(events=len(log))
    for token, group in groupby(log, lambda event: event.command_id):
        _check_append(token, [*group], ledger, seed, finding)
    _check_streams(store, log, finding, {append.stream for append in ledger.tried.values()})
    if isinstance(store, SnapshotStore):
        _check_snapshots(store, finding, seed)
    return finding


def _check_append(
    token: str | None, found: Sequence[Event], ledger: Ledger, seed: int, finding: Finding
) -> None:
    append = ledger.tried.get(token or "")
    if append is None:
        raise AssertionError(f"{found[0]} is there, though nobody wrote it")
    require(append.token not in finding.positions, f"{append} is there twice, or in pieces")
    written = append.events(seed)
    require_equal(len(found), len(written), f"events of {append}")
    last = found[-1].position or 0
    for position, (event, expected) in enumerate(
        zip(found, written, strict=True), last - len(found) + 1
    ):
        if event != expected.at(position):  # asked first: the message costs more than the answer
            require_equal(event, expected.at(position), f"an event of {append}")
    finding.positions[append.token] = last


def _check_streams(
    store: EventStore, log: Sequence[Event], finding: Finding, streams: set[str]
) -> None:
    by_stream: defaultdict[StreamId, list[Event]] = defaultdict(list)
    for event in log:
        by_stream[event.stream_id].append(event)
    for stream in streams:
        logged = by_stream[TYPE, stream]
        events = stream_of(store, (TYPE, stream))
        sequences = [event.sequence for event in events]
        require_equal(sequences, [*range(1, len(logged) + 1)], f"sequences of {stream}")
        # By the items that say which event it is; the log's were compared in full.
        same = all(one[:9] == other[:9] for one, other in zip(events, logged, strict=True))
        require(same or events == logged, f"{stream} is not what the log says")
        if logged:
            finding.heads[stream] = len(logged)


def _check_snapshots(store: SnapshotStore, finding: Finding, seed: int) -> None:
    for stream in finding.heads:
        snapshot = store.load_latest((TYPE, stream))
        if snapshot is not None:
            expected: Any = snapshot_of(seed, stream, snapshot.sequence)
            require_equal(snapshot, expected, f"snapshot of {stream}")


def resume(store: EventStore, ledger: Ledger, finding: Finding, seed: int, probe: str) -> None:
    """Go on after a crash: what is there stays, what was under way is sent again, and more.

    Args:
        store: the store, opened again.
        ledger: learns from the finding what the store must hold from now on.
        finding: what `inspect` saw.
        seed: of the campaign.
        probe: token of a further append.

    Raises:
        AssertionError: an append sent again with its id is stored twice, or elsewhere, or is
            refused for no reason; or nothing more can be written.
    """
    heads = dict(finding.heads)
    for append in ledger.pending():
        position = finding.positions.get(append.token)
        again = _sent_again(store, append, seed, position, heads)
        if again is None:
            ledger.abandon(append.token)
        else:
            ledger.keep(append.token, again)
    further = Append(probe, "further", heads.get("further", 0))
    ledger.tried[probe] = further
    ledger.floors[probe] = max(finding.positions.values(), default=0)
    ledger.keep(probe, _append(store, further, seed))
    ledger.heads = {**heads, further.stream: further.last(seed)}


def _sent_again(
    store: EventStore, append: Append, seed: int, there: int | None, heads: dict[str, int]
) -> int | None:
    """Return the position of an append, after sending it again; None if it is not stored."""
    if append.commit(seed).append_id is None:
        return there
    if there is None and append.expected != heads.get(append.stream, 0):
        return None  # another append has taken its place
    position = _append(store, append, seed)
    if there is None:
        heads[append.stream] = append.last(seed)
    else:
        require_equal(position, there, f"position of {append} sent again")
    return position


def _append(store: EventStore, append: Append, seed: int) -> int:
    commit = append.commit(seed)
    return store.append(
        commit.stream_id,
        commit.events,
        expected_sequence=commit.expected_sequence,
        append_id=commit.append_id,
    )
