"""Outages: the server behind a store killed under load, and its writers still alive."""

from __future__ import annotations

import time
from collections.abc import Callable

from eskernel.contracts import EventStore
from eskernel.testing.crash.breakage import blaming, chosen_seed, seeded
from eskernel.testing.crash.hearing import kill, wait_for
from eskernel.testing.crash.ledger import Ledger
from eskernel.testing.crash.looking import CrashReport, look
from eskernel.testing.crash.nursery import Nursery
from eskernel.testing.crash.opening import Opening
from eskernel.testing.crash.writer import Load


def check_outages(
    open_store: Callable[..., EventStore] | str,
    *arguments: str,
    outage: Callable[[], object],
    outages: int = 6,
    per_writer: int = 3,
    seed: int | None = None,
    threads: int = 4,
    after_kill: Callable[[], object] | None = None,
    progress: Callable[[CrashReport], object] | None = None,
) -> CrashReport:
    """Have what a store depends on fail and come back while writers go on, and inspect the store.

    During an outage appends must raise StoreUnavailable and nothing else; what was said not to be
    stored must not be there, and the very store object must work again by itself. Of unknown
    outcome, an append is sent again with its id, and must be stored once.

    Args:
        open_store: opens the store; as for `check_crashes`.
        arguments: what it is called with.
        outage: has the store fail at once, and returns when it could work again.
        outages: how many.
        per_writer: after so many the writer is killed and the store inspected.
        seed: repeats a campaign as far as threads and time can be repeated.
        threads: how many write at once.
        after_kill: as for `check_crashes`.
        progress: called with the report so far after each inspection.

    Returns:
        What was done.

    Raises:
        BrokenByCrash: an AssertionError that names the seed.
    """
    report = CrashReport(chosen_seed(seed))
    opening = Opening.of(open_store, arguments)
    ledger = Ledger(may_be_down=True)
    random = seeded(report.seed, "outages")
    begun = time.monotonic()
    with Nursery(opening) as nursery:
        while report.crashes < outages:
            first = report.crashes + 1
            load = Load(report.seed, first, ledger.heads, threads)
            with blaming(report.seed, first, "a server that failed"):
                nursery.begin(opening, load)
                for _ in range(min(max(per_writer, 1), outages - report.crashes)):
                    wait_for(nursery, ledger, random.randrange(5, 40))
                    time.sleep(random.random() * 0.01)
                    outage()
                    report.crashes += 1
                wait_for(nursery, ledger, 4 * threads)
                kill(nursery, ledger)
                if after_kill is not None:
                    after_kill()
                look(opening, ledger, report, f"{first}.further", again=report.crashes == outages)
            report.unavailable, report.unknown = ledger.outages, ledger.unknown
            report.seconds = time.monotonic() - begun
            if progress is not None:
                progress(report)
    return report
