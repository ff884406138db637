"""MongoStore: events, snapshots and checkpoints in MongoDB."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import TypeVar

from eskernel.codec import Codec
from eskernel.contracts import Commit, Fence
from eskernel.values import SERVING, Checkpoint, Event, Lease, Range, Snapshot, StreamId
from eskernel_stores.batching import Batch, Outcome, Prepared, Round, Written
from eskernel_stores.bounds import bounds_of
from eskernel_stores.checking import check_checkpoints, check_text
from eskernel_stores.heads import Head
from eskernel_stores.hints import Hints
from eskernel_stores.leases import check_claim
from eskernel_stores.mongo.chain import Chain
from eskernel_stores.mongo.checkpoints import MongoCheckpoints
from eskernel_stores.mongo.database import Database
from eskernel_stores.mongo.documents import end_of, events_of, joining, of_stream, to_part
from eskernel_stores.mongo.leases import MongoLeases
from eskernel_stores.mongo.log import Log
from eskernel_stores.mongo.reading import Reading
from eskernel_stores.mongo.schema import prepare
from eskernel_stores.mongo.snapshots import MongoSnapshots
from eskernel_stores.mongo.watcher import Watcher
from eskernel_stores.urls import shown

A = TypeVar("A")


class MongoStore:
    """A FencingEventStore, SnapshotStore and CheckpointStore in a MongoDB replica set.

    The collections are made on first use. Any number of stores, in any number of processes, may
    share them. What is acknowledged is in the journals of a majority of the servers.

    An append is one document, which MongoDB limits to 16 MB. One that depends on a lease costs no
    more than others, but for the first. Whoever takes leases of which appends have depended leaves
    a gap of one position in the log.

    A primary that was deposed takes some seconds to notice, and may answer readers from its old
    state meanwhile. Nothing can be appended there, and an append that was decided on such an answer
    is refused by the new primary.

    Args:
        url: `mongodb://user:password@host:port,host:port/database?options`, or `mongodb+srv://…`;
            the database is `eskernel` if none is named. Options that would weaken durability, or
            have secondaries be read, are overridden.
        types: declared dataclasses and Enums that readers of the store itself may meet; a kernel
            decodes with its domains' own.
        timeout: seconds that a call waits for the servers.

    Raises:
        ValueError: the URL is neither of these.
        StoreUnavailable: the servers cannot be reached, or refuse.
    """

    def __init__(self, url: str, types: Iterable[type] = (), *, timeout: float = 4.0) -> None:
        codec = Codec(types)
        self._pack = codec.pack
        self._unpack = codec.unpack
        self._url = shown(url)
        self._database = Database(url, timeout)
        try:
            self._join = joining(prepare(self._database))
        except BaseException:
            self._database.close()
            raise
        self._chain = Chain(self._database, timeout)
        self._log = Log(self._database, self._unpack)
        self._hints = Hints(partial(Watcher, self._database))
        self._snapshots = MongoSnapshots(self._database, self._pack, self._unpack)
        self._leases = MongoLeases(self._database, self._chain.mark)
        self._checkpoints = MongoCheckpoints(self._database, self._leases)

    def append(
        self,
        stream_id: StreamId,
        events: Sequence[Event],
        *,
        expected_sequence: int,
        append_id: int | None = None,
    ) -> int:
        """Store events at the end of a stream; see `EventStore.append`."""
        (outcome,) = self.append_batch([Commit(stream_id, events, expected_sequence, append_id)])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def append_batch(self, commits: Sequence[Commit]) -> list[Outcome]:
        """Store many appends in one write; see `BatchingEventStore.append_batch`."""
        return Batch(commits, self._pack, self._unpack, to_part, self._join).store(self)

    def append_fenced(
        self, commits: Sequence[Commit], fences: Sequence[Fence | None]
    ) -> list[Outcome]:
        """Store appends that depend on leases; see `FencingEventStore.append_fenced`."""
        batch = Batch(commits, self._pack, self._unpack, to_part, self._join, fences=fences)
        return batch.store(self)

    def write(self, round: Round) -> Written:
        """Store a round of a batch; see `batching.Writer`."""
        return self._chain.write(round)

    def find(self, commit: Prepared) -> list[int]:
        """Return where a commit is stored already; see `batching.Writer`."""
        return self._chain.streams.find(commit)

    def fold(
        self,
        stream_id: StreamId,
        function: Callable[[A, Event], A],
        initial: A,
        range: Range = Range(),  # noqa: B008 - immutable
    ) -> A:
        """Reduce a stream's events; see `EventStore.fold`."""
        accumulator = initial
        start, stop = bounds_of(range)
        if start >= stop:
            return accumulator
        reading = Reading(self._database, "sequence", of_stream(stream_id))
        self._database.check_open()  # a forked child must not wait for locks
        seen = self._chain.streams.heads.get(stream_id)
        begins = seen is not None and seen.sequence == start - 1
        last = None
        with closing(reading.appends(start, stop, begins=begins)) as appends:
            for last in appends:
                for event in events_of(last, "sequence", start, stop, self._unpack):
                    accumulator = function(accumulator, event)
        if last is not None:
            self._chain.streams.heads.put([(stream_id, Head(end_of(last), last["_id"]))])
        return accumulator

    def fold_all(
        self,
        function: Callable[[A, Event], A],
        initial: A,
        range: Range = Range(),  # noqa: B008 - immutable
        *,
        limit: int | None = None,
        types: Collection[str] | None = None,
        aggregate_types: Collection[str] | None = None,
    ) -> tuple[A, int]:
        """Reduce the log; see `EventStore.fold_all`."""
        return self._log.fold_all(function, initial, range, limit, types, aggregate_types)

    def last_position(self) -> int:
        """Return the position of the newest event; 0 for an empty log."""
        return self._chain.last_position()

    def store(self, snapshot: Snapshot, *, keep: int = 1) -> None:
        """Store a snapshot; see `SnapshotStore.store`."""
        self._snapshots.store(snapshot, keep)

    def load_latest(self, stream_id: StreamId) -> Snapshot | None:
        """Return the stream's newest snapshot, or None."""
        return self._snapshots.load_latest(stream_id)

    def load_checkpoint(self, name: str, slot: str = SERVING) -> Checkpoint | None:
        """Return the checkpoint in a slot, or None."""
        check_text("name", name)
        check_text("slot", slot)
        return self._checkpoints.load(name, slot)

    def save_checkpoints(
        self, name: str, epoch: int, slots: Mapping[str, Checkpoint | None]
    ) -> None:
        """Replace checkpoints of a name; see `CheckpointStore.save_checkpoints`."""
        check_checkpoints(name, epoch, slots)
        self._checkpoints.save(name, epoch, slots)

    def acquire_lease(self, name: str, owner: str, seconds: float) -> Lease:
        """Take or renew a lease; see `CheckpointStore.acquire_lease`."""
        check_claim([name], owner, seconds)
        return self._leases.acquire(name, owner, seconds)

    def release_lease(self, name: str, owner: str) -> None:
        """Give a lease back; does nothing if another, or nobody, holds it."""
        check_text("name", name)
        self._leases.release_all([name], owner)

    def acquire_leases(self, names: Sequence[str], owner: str, seconds: float) -> list[Lease]:
        """Take or renew several leases; see `FencingEventStore.acquire_leases`."""
        check_claim(names, owner, seconds)
        return self._leases.acquire_all(names, owner, seconds)

    def release_leases(self, names: Sequence[str], owner: str) -> None:
        """Give several leases back; those of others stay as they are."""
        for name in names:
            check_text("name", name)
        self._leases.release_all(names, owner)

    def on_append(self, tell: Callable[[], None]) -> Callable[[], None]:
        """Have a function called after appends; see `HintingEventStore.on_append`.

        A server that is in no replica set gives no hints: there the function is never called.
        """
        return self._hints.on_append(tell)

    def close(self) -> None:
        """Close the connections; what the store is asked after that raises StoreUnavailable."""
        self._hints.close()
        self._database.close()

    def __repr__(self) -> str:
        return f"MongoStore({self._url})"
