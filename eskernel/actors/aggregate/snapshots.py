"""Taking snapshots: encoded by the actor's owner, written by the pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eskernel.actors.journal import log_safely
from eskernel.errors import NotStorable
from eskernel.values import Receipt, Snapshot, StreamId

if TYPE_CHECKING:
    from eskernel.actors.aggregate.bound_domain import BoundDomain
    from eskernel.actors.aggregate.hydration import Folded
    from eskernel.actors.aggregate.services import Services


def take_snapshot(
    services: Services, domain: BoundDomain, stream_id: StreamId, folded: Folded
) -> None:
    """Encode an aggregate's state now and have it written later; failure is a warning."""
    receipts = (folded.receipts or {}).items()
    snapshot = Snapshot(
        stream_id,
        folded.sequence,
        folded.state,
        domain.version,
        tuple(Receipt(command_id, first, last) for command_id, (first, last) in receipts),
        int(services.now() * 1000),
    )
    try:
        sealed = snapshot.sealed(domain.pack, domain.unpack)
    except NotStorable as error:
        log_safely("warning", "snapshot_not_encoded", stream_id=stream_id, exc_info=error)
        return
    services.jobs.put(lambda: _write(services, sealed))


def _write(services: Services, snapshot: Snapshot) -> None:
    assert services.snapshots is not None
    kept = services.limits.snapshots_kept
    try:
        if kept == 1:
            services.snapshots.store(snapshot)
        else:
            services.snapshots.store(snapshot, keep=kept)
    except Exception as error:  # noqa: BLE001 - a snapshot is only an optimisation
        log_safely("warning", "snapshot_not_stored", stream_id=snapshot.stream_id, exc_info=error)
