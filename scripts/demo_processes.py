"""See eskernel use every core, and lose a process at work: `make demo-processes`.

Options are priced, about a millisecond of Python each, by one kernel and by a ProcessKernel. Then
a worker process is killed while sixteen callers have quotes made and stored in SQLite; in the end
every quote that a caller was told of is in the store, once. Every step checks what it shows, and
the first that is not as it should be ends the demo with exit status 1.
"""

from __future__ import annotations

import os
import signal
import sys
from functools import partial

import demo_quotes_steps as steps
from demo_checks import wait_until
from demo_quotes import Quoting
from demo_screen import fact, heading

from eskernel.processes import ProcessKernel

WORKERS = max(2, os.cpu_count() or 1)


def main() -> int:
    """Run the steps; return the exit status."""
    return steps.run(
        f"eskernel on every core: one kernel, {WORKERS} processes, one of them killed", show
    )


def show(url: str) -> None:
    """Take the steps, with a store at this URL."""
    new_kernel = partial(
        ProcessKernel, steps.DOMAINS, workers=WORKERS, dispatch_timeout=steps.TIMEOUT
    )
    here = steps.price_here()
    heading(f"Price them again in {WORKERS} worker processes")
    with new_kernel("memory:") as kernel:
        steps.price_there(kernel, here)
    heading("Have worker processes keep quotes in SQLite")
    with new_kernel(url) as kernel:
        fact("events go to", url)
        quoting = Quoting(kernel)
        steps.wait_for_some(quoting)
        kill_a_worker(kernel)
        steps.wait_for_some(quoting)
        steps.show_restarted(kernel)
        books = steps.stop_quoting(kernel, quoting)
    steps.count_stored(url, quoting, books)


def kill_a_worker(kernel: ProcessKernel) -> None:
    heading("Kill one of them in the middle of its work")
    pid = kernel.worker_pids()[0]
    assert pid is not None, "it has just answered"
    os.kill(pid, signal.SIGKILL)
    fact("killed", f"worker-0, process {pid}")
    wait_until(
        "worker-0 is replaced", lambda: kernel.tree().find("worker-0").restarts, steps.TIMEOUT
    )
    fact("replaced by", kernel.tree().find("worker-0").actor)


if __name__ == "__main__":
    sys.exit(main())
