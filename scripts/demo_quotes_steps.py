"""Steps that the demos of processes and of Ray share: price options, and count what is stored."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import structlog
from demo_checks import NotAsItShould, check, wait_until
from demo_quotes import BOOKS, CALLERS, TYPE, Quoting, quotes_a_second
from demo_screen import block, fact, failed, heading, print_anywhere, title

from domains import pricing
from eskernel import Event, Kernel
from eskernel.errors import EskernelError
from eskernel.remote.front import Front
from eskernel_stores import MemoryStore, open_store

DOMAINS = {TYPE: pricing}
COMMANDS = 1600
SOME = 200
"""Quotes that are enough to go on to the next step."""
TIMEOUT = 30.0
"""Seconds that a command may take; a busy machine may be slow to replace a process."""

Books = dict[str, pricing.Book]


def run(about: str, steps: Callable[[str], None]) -> int:
    """Run steps; return the exit status.

    Args:
        about: the title.
        steps: take the URL of a new store.
    """
    print_anywhere()
    _log_to_the_screen()
    began = time.monotonic()
    title(about)
    try:
        with TemporaryDirectory(prefix="eskernel-demo-") as folder:
            steps(f"sqlite:///{Path(folder) / 'quotes.db'}")
    except KeyboardInterrupt:
        failed("interrupted", [])
        return 130
    except (NotAsItShould, EskernelError, RuntimeError, OSError) as error:
        kind = "" if isinstance(error, NotAsItShould) else f"{type(error).__name__}: "
        failed(f"{kind}{error}", [])
        return 1
    title(f"All as it should be, in {time.monotonic() - began:.1f} seconds.")
    return 0


def _log_to_the_screen() -> None:
    """Have the kernel's log shown among the facts."""

    def show(_logger: Any, level: str, entry: Any) -> Any:
        block(f"kernel log: {level}: {entry['event']}: {entry.get('reason', '')}")
        raise structlog.DropEvent

    structlog.configure(processors=[show])


def price(kernel: Kernel | Front) -> tuple[float, Books]:
    """Have all options priced; return how many a second, and the books."""
    rate = quotes_a_second(kernel, COMMANDS)
    fact("quotes a second", round(rate))
    return rate, books_of(kernel)


def price_here() -> tuple[float, Books]:
    """Have them priced by one kernel in this process."""
    heading(f"Price {COMMANDS} options for {CALLERS} callers in this process")
    with Kernel(DOMAINS, MemoryStore(), dispatch_timeout=TIMEOUT) as kernel:
        return price(kernel)


def price_there(kernel: Front, here: tuple[float, Books]) -> None:
    """Have them priced by other processes; the books must be the same."""
    rate, books = price(kernel)
    fact("times as fast", f"{rate / here[0]:.2f}")
    check("books that hold the same", same(books, here[1]), len(BOOKS))


def wait_for_some(quoting: Quoting) -> None:
    """Wait until more quotes have been accepted."""
    wanted = len(quoting.accepted) + SOME
    wait_until("quotes are made", lambda: len(quoting.accepted) >= wanted, TIMEOUT)


def stop_quoting(kernel: Front, quoting: Quoting) -> Books:
    """Let the callers end; return the books."""
    heading("Stop quoting")
    quoting.end()
    fact("quotes accepted", len(quoting.accepted))
    fact("longest wait of a caller", f"{quoting.longest:.2f} seconds")
    check("callers who got an error", quoting.refused, [])
    return books_of(kernel)


def count_stored(url: str, quoting: Quoting, books: Books) -> None:
    """Look whether the store has each accepted quote once, and nothing else."""
    heading("Is everything there, once?")
    with closing(open_store(url)) as store:
        nothing: Counter[str] = Counter()
        stored, _ = store.fold_all(_count, nothing)
        check("quotes accepted but not stored", [*{*quoting.accepted} - {*stored}], [])
        check("quotes stored twice", [one for one, times in stored.items() if times > 1], [])
        check("quotes stored", stored.total(), len(quoting.accepted))
        with Kernel(DOMAINS, store) as kernel:
            replayed = books_of(kernel)
    check("books that hold the same when replayed", same(replayed, books), len(BOOKS))
    check("quotes in the books", sum(book.quotes for book in books.values()), stored.total())


def show_restarted(kernel: Front) -> None:
    """Show the supervision tree, of the kernels in it only one that was started again."""
    wait_until("a restart is counted", lambda: restarted(kernel), TIMEOUT)
    tree, (chosen, *_) = kernel.tree(max_aggregates=1), restarted(kernel)
    below = [node if node.name == chosen else replace(node, children=()) for node in tree.children]
    block(str(replace(tree, children=tuple(below))))


def restarted(kernel: Front) -> list[str]:
    """Return the names of what was started again, right below the root."""
    return [node.name for node in kernel.tree().children if node.restarts]


def books_of(kernel: Kernel | Front) -> Books:
    """Return the state of every book."""
    return {book: kernel.state_of(TYPE, book, timeout=TIMEOUT)[0] for book in BOOKS}


def same(found: Books, wanted: Books) -> int:
    """Return how many books are the same."""
    return sum(found[book] == wanted[book] for book in BOOKS)


def _count(found: Counter[str], event: Event) -> Counter[str]:
    found[str(event.command_id)] += 1
    return found
