"""SqlStore: events, snapshots and checkpoints in SQLite or PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

from sqlalchemy import URL

from eskernel.codec import Codec
from eskernel.contracts import Commit, Fence, HintingEventStore, TableTransaction
from eskernel.values import SERVING, Checkpoint, Event, Lease, Range, Snapshot, StreamId
from eskernel_stores.batching import Batch, Outcome, Prepared, Round, Written
from eskernel_stores.bounds import LAST, bounds_of
from eskernel_stores.checking import check_checkpoints, check_text
from eskernel_stores.leases import check_claim
from eskernel_stores.sql import checkpoints, leases, reading, snapshots
from eskernel_stores.sql.backends import backend_of, checked_url
from eskernel_stores.sql.database import Database
from eskernel_stores.sql.events import check_holes, fold_rows, to_columns
from eskernel_stores.sql.schema import prepare
from eskernel_stores.sql.table_transaction import table_transaction

A = TypeVar("A")


class SqlStore:
    """A FencingEventStore, SnapshotStore, CheckpointStore and TableStore, through SQLAlchemy.

    The tables are made on first use. Any number of stores, in any number of processes, may share
    them.

    Args:
        url: `sqlite:///file.db` or `postgresql://user:password@host/database`.
        types: declared dataclasses and Enums that readers of the store itself may meet; a kernel
            decodes with its domains' own.
        synchronous: how far SQLite waits for the disk: `FULL`; or `NORMAL` or `OFF`, with which a
            power cut may lose what was acknowledged.
        timeout: seconds to wait for a lock of another program's, or for a free connection.
        pool_size: connections that are kept open.

    Raises:
        ValueError: the URL is none of these.
        ModuleNotFoundError: the database's driver is not installed.
        StoreUnavailable: the database cannot be reached, refuses, or holds newer tables.
        CorruptStore: the file is damaged, or no database.
    """

    def __init__(
        self,
        url: str | URL,
        types: Iterable[type] = (),
        *,
        synchronous: str = "FULL",
        timeout: float = 5.0,
        pool_size: int = 8,
    ) -> None:
        codec = Codec(types)
        self._pack = codec.pack
        self._unpack = codec.unpack
        checked = checked_url(url)
        self._url = checked.render_as_string(hide_password=True)
        self._backend = backend_of(checked, synchronous, timeout, pool_size)
        self._database = Database(self._backend)
        try:
            prepare(self._database, self._backend)
        except BaseException:
            self._database.close()
            raise

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
        """Store many appends in one transaction; see `BatchingEventStore.append_batch`."""
        return Batch(commits, self._pack, self._unpack, to_columns).store(self)

    def append_fenced(
        self, commits: Sequence[Commit], fences: Sequence[Fence | None]
    ) -> list[Outcome]:
        """Store many appends that depend on leases; see `FencingEventStore.append_fenced`."""
        batch = Batch(commits, self._pack, self._unpack, to_columns, fences=fences)
        return batch.store(self)

    def write(self, round: Round) -> Written:
        """Store a round of a batch; see `batching.Writer`."""
        return self._database.write(round)

    def find(self, commit: Prepared) -> list[int]:
        """Return where a commit is stored already; see `batching.Writer`."""
        first = commit.expected + 1
        bounds = (first, first + len(commit.events))
        with self._database.connect() as connection:
            return reading.positions_under(connection, commit.stream_id, *bounds, commit.append_id)

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
        while start < stop:
            with self._database.connect() as connection:
                rows = reading.stream_page(connection, stream_id, start, stop)
            if not rows:
                break
            check_holes(rows, start, stream_id)
            accumulator = fold_rows(function, accumulator, rows, self._unpack)
            if len(rows) < reading.PAGE:
                break
            start += len(rows)
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
        accumulator = initial
        start, stop = bounds_of(range)
        left = LAST if limit is None else limit
        while start < stop and left > 0:
            count = min(left, reading.PAGE)
            with self._database.connect() as connection:
                rows, looked_at, reached = reading.log_page(
                    connection, start, stop, count, types, aggregate_types
                )
            accumulator = fold_rows(function, accumulator, rows, self._unpack)
            if looked_at:
                start = reached + 1
            if looked_at < count:
                break
            left -= looked_at
        return accumulator, start - 1

    def last_position(self) -> int:
        """Return the position of the newest event; 0 for an empty log."""
        with self._database.connect() as connection:
            return reading.last_position(connection)

    def store(self, snapshot: Snapshot, *, keep: int = 1) -> None:
        """Store a snapshot; see `SnapshotStore.store`."""
        sealed = snapshot.sealed(self._pack, self._unpack)
        with self._database.transaction() as connection:
            snapshots.put(connection, sealed)
        with self._database.transaction() as connection:
            snapshots.forget_old(connection, sealed.stream_id, keep)

    def load_latest(self, stream_id: StreamId) -> Snapshot | None:
        """Return the stream's newest snapshot, or None."""
        with self._database.connect() as connection:
            return snapshots.latest(connection, stream_id, self._unpack)

    def load_checkpoint(self, name: str, slot: str = SERVING) -> Checkpoint | None:
        """Return the checkpoint in a slot, or None."""
        check_text("name", name)
        check_text("slot", slot)
        with self._database.connect() as connection:
            return checkpoints.load(connection, name, slot)

    def save_checkpoints(
        self, name: str, epoch: int, slots: Mapping[str, Checkpoint | None]
    ) -> None:
        """Replace checkpoints of a name; see `CheckpointStore.save_checkpoints`."""
        check_checkpoints(name, epoch, slots)
        with self._database.transaction() as connection:
            checkpoints.save(connection, name, epoch, slots)

    def acquire_lease(self, name: str, owner: str, seconds: float) -> Lease:
        """Take or renew a lease; see `CheckpointStore.acquire_lease`."""
        (lease,) = self.acquire_leases([name], owner, seconds)
        return lease

    def release_lease(self, name: str, owner: str) -> None:
        """Give a lease back; does nothing if another, or nobody, holds it."""
        self.release_leases([name], owner)

    def acquire_leases(self, names: Sequence[str], owner: str, seconds: float) -> list[Lease]:
        """Take or renew several leases; see `FencingEventStore.acquire_leases`."""
        check_claim(names, owner, seconds)
        return self._backend.acquire(self._database, names, owner, seconds) if names else []

    def release_leases(self, names: Sequence[str], owner: str) -> None:
        """Give several leases back; those of others stay as they are."""
        for name in names:
            check_text("name", name)
        if names:
            with self._database.transaction() as connection:
                leases.release(connection, names, owner)

    def table_transaction(self, patience: float) -> AbstractContextManager[TableTransaction]:
        """Lend a transaction for tables and checkpoints; see `TableStore.table_transaction`."""
        return table_transaction(self._database, self._backend, patience)

    def on_append(self, tell: Callable[[], None]) -> Callable[[], None]:
        """Have a function called after appends to PostgreSQL; see `HintingEventStore.on_append`.

        SQLite gives no hints: there the function is never called.
        """
        if isinstance(self._backend, HintingEventStore):
            return self._backend.on_append(tell)
        return lambda: None

    def close(self) -> None:
        """Close the connections; what the store is asked after that raises StoreUnavailable."""
        self._database.close()

    def __repr__(self) -> str:
        return f"SqlStore({self._url!r})"
