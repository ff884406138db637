"""Taking snapshots: encoded by the actor's owner, written by the pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from eskernel.errors import NotStorable
from eskernel.values import Receipt, Snapshot

if TYPE_CHECKING:
    from eskernel.actors.aggregate.services import Services
    from eskernel.actors.aggregate.stream_actor import StreamActor

log = structlog.get_logger("eskernel")


def take_snapshot(actor: StreamActor) -> None:
    """Encode the actor's state now and have it written later; failure is a warning."""
    services, domain = actor.services, actor.domain
    receipts = (actor.receipts or {}).items()
    snapshot = Snapshot(
        actor.stream_id,
        actor.sequence,
        actor.state,
        domain.version,
        tuple(Receipt(command_id, first, last) for command_id, (first, last) in receipts),
        int(services.now() * 1000),
    )
    try:
        sealed = snapshot.sealed(domain.pack, domain.unpack)
    except NotStorable as error:
        log.warning("snapshot_not_encoded", stream_id=actor.stream_id, exc_info=error)
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
    except Exception as error:
        log.warning("snapshot_not_stored", stream_id=snapshot.stream_id, exc_info=error)
