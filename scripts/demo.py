"""See event sourcing work: `make demo`.

A bank account goes through everything eskernel promises, on SQLite in a temporary folder, until a
second process brings it back from disk; then projections make a balance and a table of what is
stored there. Every step checks what it shows, and the first that is not as it should be ends the
demo with exit status 1. The steps are in `demo_write_side` and `demo_read_side`, in the order they
run; `demo_screen` prints.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import structlog
from demo_checks import NotAsItShould
from demo_read_side import show_read_side
from demo_screen import failed, print_anywhere, title
from demo_write_side import show_write_side

from eskernel.errors import EskernelError


def main() -> int:
    """Run the steps; return the exit status."""
    print_anywhere()
    log = keep_the_log()
    began = time.monotonic()
    title("eskernel: pure domains, stored as events, on supervised actors")
    try:
        with TemporaryDirectory(prefix="eskernel-demo-") as folder:
            database = Path(folder) / "bank.db"
            show_write_side(database, log)
            show_read_side(database)
    except (NotAsItShould, EskernelError) as error:
        kind = "" if isinstance(error, NotAsItShould) else f"{type(error).__name__}: "
        failed(f"{kind}{error}", log)
        return 1
    title(f"All as it should be, in {time.monotonic() - began:.1f} seconds.")
    return 0


def keep_the_log() -> list[str]:
    """Have the kernel's log kept in a list instead of printed between the steps.

    The kernel logs through structlog and leaves its configuration to the host, here this script.
    """
    log: list[str] = []

    def keep(_logger: Any, level: str, entry: Any) -> Any:
        log.append(f"kernel log: {level}: {entry['event']} {entry.get('stream_id', '')}")
        raise structlog.DropEvent

    structlog.configure(processors=[keep])
    return log


if __name__ == "__main__":
    sys.exit(main())
