"""JetStreamStore: events, snapshots and checkpoints in a NATS cluster."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TypeVar

from eskernel.codec import Codec
from eskernel.contracts import Commit
from eskernel.values import SERVING, Checkpoint, Event, Lease, Range, Snapshot, StreamId
from eskernel_stores.batching import Outcome
from eskernel_stores.checking import check_checkpoints, check_text
from eskernel_stores.jetstream.buckets.checkpoints import JetStreamCheckpoints
from eskernel_stores.jetstream.buckets.snapshots import JetStreamSnapshots
from eskernel_stores.jetstream.connecting.address import Address, Login
from eskernel_stores.jetstream.log.events import JetStreamEvents
from eskernel_stores.jetstream.service import Service
from eskernel_stores.leases import check_claim

A = TypeVar("A")


class JetStreamStore:
    """An EventStore, SnapshotStore and CheckpointStore in three streams of JetStream.

    The streams are made on first use, and never altered. Any number of stores, in any number of
    processes, may share them.

    Events are read from the server that leads their stream. One that has just been cut off from the
    others takes some seconds to notice; who is connected to it and has seen nothing newer may read
    the events of before. Nothing can be appended there meanwhile.

    Args:
        url: `nats://user:password@host:port,host:port/name?replicas=3`; all but a host may be left
            out. The streams are called after the name, which is "eskernel", and each message is
            kept by 3 servers, if it does not say otherwise. With `tls://`, or with
            `tls`, nothing is said to a server that does not encrypt.
        types: declared dataclasses and Enums that readers of the store itself may meet; a kernel
            decodes with its domains' own.
        timeout: seconds in which what is asked is done or has failed.
        credentials: path of a file with the user's JWT and key.
        tls: for servers whose certificates the system does not know, or who want one.

    Raises:
        ValueError: the URL is none of these.
        StoreUnavailable: no server can be reached, there are too few for the replicas, or they
            refuse.
    """

    cannot_fence = "keeps leases and events in two streams, and no publish is checked against both"
    """Why it is no FencingEventStore."""

    def __init__(
        self,
        url: str,
        types: Iterable[type] = (),
        *,
        timeout: float = 4.0,
        credentials: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        address = Address.of(url)
        self._url = address.shown
        login = Login(
            *(address.user, address.password, address.token, credentials, tls),
            is_secret=address.is_secret or tls is not None,
        )
        self._service = service = Service(address, login, timeout)
        codec = Codec(types)
        forms = (codec.pack, codec.unpack)
        self._events = JetStreamEvents(service, *forms)
        parts = (service.portal, service.connection, service.name)
        self._snapshots = JetStreamSnapshots(*parts, *forms)
        self._checkpoints = JetStreamCheckpoints(*parts)

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
        """Store many appends at once; see `BatchingEventStore.append_batch`."""
        return self._events.append_batch(commits)

    def fold(
        self,
        stream_id: StreamId,
        function: Callable[[A, Event], A],
        initial: A,
        range: Range = Range(),  # noqa: B008 - immutable
    ) -> A:
        """Reduce a stream's events; see `EventStore.fold`."""
        return self._events.fold(stream_id, function, initial, range)

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
        return self._events.fold_all(function, initial, range, limit, types, aggregate_types)

    def last_position(self) -> int:
        """Return the position of the newest event; 0 for an empty log."""
        return self._events.last_position()

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
        return self._checkpoints.acquire(name, owner, seconds)

    def release_lease(self, name: str, owner: str) -> None:
        """Give a lease back; does nothing if another, or nobody, holds it."""
        check_text("name", name)
        self._checkpoints.release(name, owner)

    def on_append(self, tell: Callable[[], None]) -> Callable[[], None]:
        """Have a function called after appends; see `HintingEventStore.on_append`."""
        return self._service.hints.on_append(tell)

    def close(self) -> None:
        """Close the connection; what the store is asked after that raises StoreUnavailable."""
        self._service.close()

    def __repr__(self) -> str:
        return f"JetStreamStore({self._url})"
