"""What eskernel ships for tests: of your domains, your stores and your services."""

from eskernel.testing.clock import ManualClock
from eskernel.testing.conformance import (
    BrokenGuarantee,
    BrokenGuarantees,
    Check,
    check_event_store,
    check_snapshot_store,
    event_store_checks,
    snapshot_store_checks,
)
from eskernel.testing.decider import Decider, Outcome, decider
from eskernel.testing.purity import BrokenContract

__all__ = [
    "BrokenContract",
    "BrokenGuarantee",
    "BrokenGuarantees",
    "Check",
    "Decider",
    "ManualClock",
    "Outcome",
    "check_event_store",
    "check_snapshot_store",
    "decider",
    "event_store_checks",
    "snapshot_store_checks",
]
