"""Looking at a store after a crash, and counting what was seen."""

from __future__ import annotations

from dataclasses import dataclass

from eskernel.testing.crash.inspection import Finding, inspect, resume
from eskernel.testing.crash.ledger import Ledger
from eskernel.testing.crash.opening import Opening


@dataclass
class CrashReport:
    """What a campaign did; a store that broke a promise does not get this far.

    Attributes:
        seed: of the campaign.
        crashes: how many there were.
        early: how many of them came before the store was open.
        acknowledged: appends acknowledged before a crash, all found after it.
        found: appends under way at a crash and found whole.
        absent: appends under way at a crash and not found at all.
        events: in the store at the end.
        noticed: damaged files that the store refused to read.
        unavailable: calls that met a store that was down.
        unknown: of these, how many could not tell whether the append was stored.
        seconds: it took.
    """

    seed: int
    crashes: int = 0
    early: int = 0
    acknowledged: int = 0
    found: int = 0
    absent: int = 0
    events: int = 0
    noticed: int = 0
    unavailable: int = 0
    unknown: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        damage = f"{self.noticed} times damage was noticed; " if self.noticed else ""
        outages = (
            f"{self.unavailable} calls met a store that was down, {self.unknown} of unknown "
            "outcome; "
            if self.unavailable
            else ""
        )
        return (
            f"{self.crashes} crashes ({self.early} while opening) in {self.seconds:.1f} s: "
            f"{self.acknowledged} acknowledged appends all there, of those under way "
            f"{self.found} whole and {self.absent} absent, {self.events} events; {damage}{outages}"
            f"seed {self.seed}"
        )


def look(
    opening: Opening, ledger: Ledger, report: CrashReport, probe: str, *, again: bool
) -> Finding:
    """Open a store, inspect it, write to it, and close it.

    Args:
        opening: of the store.
        ledger: what it must hold; learns what it holds from now on.
        report: counts what is seen.
        probe: token of a further append.
        again: open it a second time, to see that it kept what was written after the crash.

    Returns:
        What was there before anything was written.
    """
    store = opening()
    try:
        finding = inspect(store, ledger, report.seed)
        pending = [append.token for append in ledger.pending()]
        found = sum(token in finding.positions for token in pending)
        report.found += found
        report.absent += len(pending) - found
        report.acknowledged = max(report.acknowledged, len(ledger.stored))
        resume(store, ledger, finding, report.seed, probe)
        report.events = max(report.events, finding.events)
    finally:
        store.close()
    if again:
        store = opening()
        try:
            inspect(store, ledger, report.seed)
        finally:
            store.close()
    return finding
