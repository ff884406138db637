"""Kills: writers of one store killed at random moments, the store inspected after each."""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random
from typing import Final

from eskernel.contracts import EventStore
from eskernel.testing.crash.breakage import blaming, chosen_seed, seeded
from eskernel.testing.crash.hearing import kill, wait_for
from eskernel.testing.crash.ledger import Ledger
from eskernel.testing.crash.looking import CrashReport, look
from eskernel.testing.crash.nursery import Nursery
from eskernel.testing.crash.opening import Opening
from eskernel.testing.crash.writer import Load

_WHILE_OPENING: Final = 0.15
"""How many of the kills come while the store is being opened, and recovers from the last one."""


def check_crashes(
    open_store: Callable[..., EventStore] | str,
    *arguments: str,
    kills: int = 20,
    seed: int | None = None,
    threads: int = 4,
    after_kill: Callable[[], object] | None = None,
    progress: Callable[[CrashReport], object] | None = None,
) -> CrashReport:
    """Kill writers of a store at random moments and inspect the store after each kill.

    A writer is a process whose threads append to one store, in batches too if it has
    `append_batch`, and report every append acknowledged. It dies by SIGKILL; the store is opened
    again and must hold every append acknowledged and of the others all events or none, in
    sequences without holes and positions that increase; an append under way, sent again with its
    id, must be stored once; and the next writer goes on with the same store.

    Args:
        open_store: opens the store, in this process and in others: a class or function of an
            importable module, or its name as `"module:name"`. The store must be empty.
        arguments: what it is called with.
        kills: how many.
        seed: repeats a campaign as far as threads and time can be repeated.
        threads: how many write at once.
        after_kill: called after each kill, before the store is opened again: waits until nothing
            that the writer asked for is still under way, for example in a server.
        progress: called with the report so far after each kill.

    Returns:
        What was done.

    Raises:
        BrokenByCrash: an AssertionError that names the seed.
        TypeError: the store cannot be opened in another process.
    """
    report = CrashReport(chosen_seed(seed))
    opening = Opening.of(open_store, arguments)
    ledger = Ledger()
    random = seeded(report.seed, "kills")
    begun = time.monotonic()
    with Nursery(opening) as nursery:
        for number in range(1, kills + 1):
            load = Load(report.seed, number, ledger.heads, threads)
            with blaming(report.seed, number, "a killed writer"):
                nursery.begin(opening, load)
                report.early += _kill_at_random(nursery, ledger, random)
                if after_kill is not None:
                    after_kill()
                look(opening, ledger, report, f"{number}.further", again=number == kills)
            report.crashes = number
            report.seconds = time.monotonic() - begun
            if progress is not None:
                progress(report)
    return report


def _kill_at_random(nursery: Nursery, ledger: Ledger, random: Random) -> bool:
    """Return whether the writer was killed before it could write."""
    early = random.random() < _WHILE_OPENING
    if early:
        time.sleep(random.random() * 0.03)
    else:
        wait_for(nursery, ledger, random.randrange(40))
        time.sleep(random.random() * 0.01)
    opened = kill(nursery, ledger)
    return early and not opened
