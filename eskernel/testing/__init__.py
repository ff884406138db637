"""What eskernel ships for tests: of your domains, your stores and your services."""

from eskernel.testing.clock import ManualClock
from eskernel.testing.conformance import (
    BrokenGuarantee,
    BrokenGuarantees,
    Check,
    check_checkpoint_store,
    check_event_store,
    check_fencing_store,
    check_snapshot_store,
    checkpoint_store_checks,
    event_store_checks,
    fencing_store_checks,
    snapshot_store_checks,
)
from eskernel.testing.crash import (
    BrokenByCrash,
    CrashReport,
    NotRecordable,
    check_bit_flips,
    check_crashes,
    check_outages,
    check_power_cuts,
    check_truncations,
)
from eskernel.testing.decider import Decider, Outcome, decider
from eskernel.testing.purity import BrokenContract

__all__ = [
    "BrokenByCrash",
    "BrokenContract",
    "BrokenGuarantee",
    "BrokenGuarantees",
    "Check",
    "CrashReport",
    "Decider",
    "ManualClock",
    "NotRecordable",
    "Outcome",
    "check_bit_flips",
    "check_checkpoint_store",
    "check_crashes",
    "check_event_store",
    "check_fencing_store",
    "check_outages",
    "check_power_cuts",
    "check_snapshot_store",
    "check_truncations",
    "checkpoint_store_checks",
    "decider",
    "event_store_checks",
    "fencing_store_checks",
    "snapshot_store_checks",
]
