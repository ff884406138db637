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
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import structlog
from demo_checks import NotAsItShould, check, wait_until
from demo_quotes import BOOKS, CALLERS, TYPE, Quoting, quotes_a_second
from demo_screen import block, fact, failed, heading, print_anywhere, title

from domains import pricing
from eskernel import Kernel
from eskernel.errors import EskernelError
from eskernel.processes import ProcessKernel
from eskernel_stores import MemoryStore, open_store

DOMAINS = {TYPE: pricing}
WORKERS = max(2, os.cpu_count() or 1)
COMMANDS = 1600
SOME = 200
"""Quotes that are enough to go on to the next step."""
TIMEOUT = 30.0
"""Seconds that a command may take; a busy machine may be slow to replace a process."""


def main() -> int:
    """Run the steps; return the exit status."""
    print_anywhere()
    log_to_the_screen()
    began = time.monotonic()
    title("eskernel on every core: one kernel, many processes, one of them killed")
    try:
        with TemporaryDirectory(prefix="eskernel-demo-") as folder:
            url = f"sqlite:///{Path(folder) / 'quotes.db'}"
            use_every_core()
            kill_and_count(url)
    except KeyboardInterrupt:
        failed("interrupted", [])
        return 130
    except (NotAsItShould, EskernelError, OSError) as error:
        kind = "" if isinstance(error, NotAsItShould) else f"{type(error).__name__}: "
        failed(f"{kind}{error}", [])
        return 1
    title(f"All as it should be, in {time.monotonic() - began:.1f} seconds.")
    return 0


def log_to_the_screen() -> None:
    """Have the kernel's log shown among the facts."""

    def show(_logger: Any, level: str, entry: Any) -> Any:
        block(f"kernel log: {level}: {entry['event']}: {entry.get('reason', '')}")
        raise structlog.DropEvent

    structlog.configure(processors=[show])


# The steps.


def use_every_core() -> None:
    heading(f"Price {COMMANDS} options for {CALLERS} callers in this process")
    with Kernel(DOMAINS, MemoryStore(), dispatch_timeout=TIMEOUT) as kernel:
        one = quotes_a_second(kernel, COMMANDS)
        fact("quotes a second", round(one))
        wanted = states_of(kernel)
    heading(f"Price them again in {WORKERS} worker processes")
    with ProcessKernel(DOMAINS, "memory:", workers=WORKERS, dispatch_timeout=TIMEOUT) as kernel:
        many = quotes_a_second(kernel, COMMANDS)
        fact("quotes a second", round(many))
        fact("times as fast", f"{many / one:.2f}")
        check("books that hold the same", same(states_of(kernel), wanted), len(BOOKS))


def kill_and_count(url: str) -> None:
    heading(f"Have {WORKERS} worker processes keep quotes in SQLite")
    with ProcessKernel(DOMAINS, url, workers=WORKERS, dispatch_timeout=TIMEOUT) as kernel:
        fact("events go to", url)
        quoting = Quoting(kernel)
        wait_for_some(quoting)
        kill_a_worker(kernel)
        wait_for_some(quoting)
        block(str(kernel.tree(max_aggregates=1)))
        heading("Stop quoting")
        quoting.end()
        fact("quotes accepted", len(quoting.accepted))
        fact("longest wait of a caller", f"{quoting.longest:.2f} seconds")
        check("callers who got an error", quoting.refused, [])
        states = states_of(kernel)
    heading("Is everything there, once?")
    with closing(open_store(url)) as store:
        stored: Counter[str] = store.fold_all(count_id, Counter())[0]
        check("quotes accepted but not stored", [*{*quoting.accepted} - {*stored}], [])
        check("quotes stored twice", [one for one, times in stored.items() if times > 1], [])
        check("quotes stored", stored.total(), len(quoting.accepted))
        with Kernel(DOMAINS, store) as kernel:
            check(
                "books that hold the same when replayed",
                same(states_of(kernel), states),
                len(BOOKS),
            )
    check("quotes in the books", sum(state.quotes for state in states.values()), stored.total())


def kill_a_worker(kernel: ProcessKernel) -> None:
    heading("Kill one of them in the middle of its work")
    name, pid = next((node.name, node.actor) for node in kernel.tree().children if is_worker(node))
    os.kill(int(pid.removeprefix("process ")), signal.SIGKILL)
    fact("killed", f"{name}, {pid}")
    wait_until(f"{name} is replaced", lambda: kernel.tree().find(name).restarts, TIMEOUT)
    fact("replaced by", kernel.tree().find(name).actor)


# What they share.


def wait_for_some(quoting: Quoting) -> None:
    """Wait until more quotes have been accepted."""
    wanted = len(quoting.accepted) + SOME
    wait_until("quotes are made", lambda: len(quoting.accepted) >= wanted, TIMEOUT)


def states_of(kernel: Kernel | ProcessKernel) -> dict[str, pricing.Book]:
    """Return the state of every book."""
    return {book: kernel.state_of(TYPE, book)[0] for book in BOOKS}


def same(found: dict[str, pricing.Book], wanted: dict[str, pricing.Book]) -> int:
    """Return how many books are the same."""
    return sum(found[book] == wanted[book] for book in BOOKS)


def is_worker(node: Any) -> bool:
    return node.name.startswith("worker-") and node.alive


def count_id(found: Counter[str], event: Any) -> Counter[str]:
    found[event.command_id] += 1
    return found


if __name__ == "__main__":
    sys.exit(main())
