"""The conformance suite: the contracts of stores, in executable form."""

from eskernel.testing.conformance.checking import BrokenGuarantee, BrokenGuarantees, Check
from eskernel.testing.conformance.suites import (
    check_checkpoint_store,
    check_event_store,
    check_fencing_store,
    check_snapshot_store,
    checkpoint_store_checks,
    event_store_checks,
    fencing_store_checks,
    snapshot_store_checks,
)

__all__ = [
    "BrokenGuarantee",
    "BrokenGuarantees",
    "Check",
    "check_checkpoint_store",
    "check_event_store",
    "check_fencing_store",
    "check_snapshot_store",
    "checkpoint_store_checks",
    "event_store_checks",
    "fencing_store_checks",
    "snapshot_store_checks",
]
