"""The crash kit: what a durable store is worth when processes die and the power fails."""

from eskernel.testing.crash.breakage import BrokenByCrash
from eskernel.testing.crash.damage import check_bit_flips, check_truncations
from eskernel.testing.crash.kills import check_crashes
from eskernel.testing.crash.looking import CrashReport
from eskernel.testing.crash.outages import check_outages
from eskernel.testing.crash.power import check_power_cuts
from eskernel.testing.crash.recording import NotRecordable

__all__ = [
    "BrokenByCrash",
    "CrashReport",
    "NotRecordable",
    "check_bit_flips",
    "check_crashes",
    "check_outages",
    "check_power_cuts",
    "check_truncations",
]
