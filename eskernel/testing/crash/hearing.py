"""Listening to a writer, until it has done enough and until it is dead."""

from __future__ import annotations

import signal

from eskernel.testing.conformance.tools import require
from eskernel.testing.crash.ledger import Ledger
from eskernel.testing.crash.nursery import Nursery
from eskernel.testing.crash.reports import ENDED, OPENED


def wait_for(nursery: Nursery, ledger: Ledger, acknowledged: int) -> None:
    """Wait until so many more reports of the writer acknowledged something."""
    while acknowledged >= 0:
        report = nursery.hear()
        require(report[0] != ENDED, f"a writer ended by itself: {nursery.complaints()}")
        acknowledged -= ledger.hear(report)


def kill(nursery: Nursery, ledger: Ledger) -> bool:
    """Kill the writer and hear what it had still said.

    Returns:
        Whether it said that it had opened the store.
    """
    nursery.kill()
    opened = False
    while (report := nursery.hear())[0] != ENDED:
        opened = opened or report[0] == OPENED
        ledger.hear(report)
    require(report[1] == -signal.SIGKILL, f"a writer ended by itself: {nursery.complaints()}")
    return opened
