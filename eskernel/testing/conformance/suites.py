"""All checks of an event store, a fencing store, a snapshot store, and a checkpoint store."""

from __future__ import annotations

from itertools import chain

from eskernel.contracts import CheckpointStore, EventStore, FencingEventStore, SnapshotStore
from eskernel.testing.conformance import (
    atomicity,
    batch_races,
    batches,
    checkpoint_races,
    checkpoints,
    checkpoints_closing,
    closing,
    closing_in_use,
    conflicts,
    epochs,
    fencing,
    fencing_leases,
    fencing_races,
    folding,
    large,
    leases,
    log_reading,
    long_streams,
    nesting,
    ordering,
    races,
    round_trips,
    rows,
    snapshot_values,
    snapshots,
    snapshots_of_streams,
    watching,
)
from eskernel.testing.conformance.checking import Check, Factory, Reopen, run

_MODULES = (
    *(ordering, conflicts, atomicity, folding, log_reading, round_trips),
    *(large, long_streams, nesting, races, watching, closing, closing_in_use),
)


def event_store_checks() -> tuple[Check[EventStore], ...]:
    """Return every guarantee of an EventStore as a check to call with a factory.

    With pytest: `@pytest.mark.parametrize("check", event_store_checks())`.
    """
    plain = chain.from_iterable(module.CHECKS for module in _MODULES)
    of_batches = (*batches.CHECKS, *large.BATCH_CHECKS, *batch_races.CHECKS)
    of_durability = (*closing.DURABILITY_CHECKS, *closing_in_use.DURABILITY_CHECKS)
    return (
        *(Check(function) for function in plain),
        *(Check(function, needs="append_batch") for function in of_batches),
        *(Check(function, needs="immediate") for function in rows.CHECKS),
        *(Check(function, needs="reopen") for function in of_durability),
    )


def snapshot_store_checks() -> tuple[Check[SnapshotStore], ...]:
    """Return every guarantee of a SnapshotStore as a check to call with a factory."""
    return (
        *(Check(function) for function in (*snapshots.CHECKS, *snapshot_values.CHECKS)),
        *(Check(function, needs="append") for function in snapshots_of_streams.CHECKS),
        Check(closing.snapshots_outlive_closing, needs="reopen"),
    )


def checkpoint_store_checks() -> tuple[Check[CheckpointStore], ...]:
    """Return every guarantee of a CheckpointStore as a check to call with a factory."""
    modules = (checkpoints, epochs, leases, checkpoint_races, checkpoints_closing)
    plain = chain.from_iterable(module.CHECKS for module in modules)
    return (
        *(Check(function) for function in plain),
        *(Check(function, needs="append") for function in checkpoints_closing.STREAM_CHECKS),
        *(Check(function, needs="reopen") for function in checkpoints_closing.DURABILITY_CHECKS),
    )


def fencing_store_checks() -> tuple[Check[FencingEventStore], ...]:
    """Return every guarantee of a FencingEventStore, beyond an EventStore's, as a check."""
    plain = chain.from_iterable(
        module.CHECKS for module in (fencing, fencing_leases, fencing_races)
    )
    return (
        *(Check(function) for function in plain),
        *(Check(function, needs="acquire_lease") for function in fencing_leases.CHECKPOINT_CHECKS),
        *(Check(function, needs="reopen") for function in fencing.DURABILITY_CHECKS),
    )


def check_event_store(
    factory: Factory[EventStore], *, reopen: Reopen[EventStore] | None = None
) -> list[str]:
    """Hold an event store to everything `eskernel.contracts.EventStore` promises.

    `append_batch` is checked if the store has it. Every check gets a store of its own, which is
    closed after it; all checks run, even if some fail.

    Args:
        factory: returns a new, empty store.
        reopen: closes the store it is given and returns another of the same data. Leave it out
            if the store does not outlive its closing: durability is then not checked.

    Returns:
        The guarantees checked, as sentences.

    Raises:
        BrokenGuarantees: an AssertionError, and an ExceptionGroup with one error for each
            guarantee broken.
    """
    return run(event_store_checks(), factory, reopen)


def check_fencing_store(
    factory: Factory[FencingEventStore], *, reopen: Reopen[FencingEventStore] | None = None
) -> list[str]:
    """Hold an event store to everything `eskernel.contracts.FencingEventStore` promises.

    What it promises as an EventStore is checked by `check_event_store`.

    Args:
        factory: returns a new, empty store.
        reopen: as for `check_event_store`.

    Returns:
        The guarantees checked, as sentences.

    Raises:
        BrokenGuarantees: as `check_event_store`.
    """
    return run(fencing_store_checks(), factory, reopen)


def check_snapshot_store(
    factory: Factory[SnapshotStore], *, reopen: Reopen[SnapshotStore] | None = None
) -> list[str]:
    """Hold a snapshot store to everything `eskernel.contracts.SnapshotStore` promises.

    Args:
        factory: returns a new, empty store; if it has `close()`, that is called after each check.
        reopen: as for `check_event_store`.

    Returns:
        The guarantees checked, as sentences.

    Raises:
        BrokenGuarantees: as `check_event_store`.
    """
    return run(snapshot_store_checks(), factory, reopen)


def check_checkpoint_store(
    factory: Factory[CheckpointStore], *, reopen: Reopen[CheckpointStore] | None = None
) -> list[str]:
    """Hold a checkpoint store to everything `eskernel.contracts.CheckpointStore` promises.

    Args:
        factory: returns a new, empty store; if it has `close()`, that is called after each check.
        reopen: as for `check_event_store`.

    Returns:
        The guarantees checked, as sentences.

    Raises:
        BrokenGuarantees: as `check_event_store`.
    """
    return run(checkpoint_store_checks(), factory, reopen)
