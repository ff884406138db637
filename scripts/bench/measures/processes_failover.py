"""A worker process is killed again and again: how long its accounts are not served.

16 callers deposit, with command ids, into accounts of both workers, in a SQLite file. What counts
is how long a command that was under way at a kill, or came after it, had to wait from the kill on.
"""

from __future__ import annotations

import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from threading import Event
from typing import NamedTuple

from eskernel import Command
from eskernel.processes import ProcessKernel
from scripts.bench.accounts import TYPE, account
from scripts.bench.callers import MANY, together
from scripts.bench.figure import Figure
from scripts.bench.places import folder
from scripts.bench.timing import Say, quantile, scaled
from scripts.bench.workers import WORKERS, workers_of, working

_KILLS, _ACCOUNTS = 24, 64
_SHORTEST, _LONGEST = 0.5, 1.0  # seconds from a new worker to its end
_LOOK_AGAIN = 0.002  # seconds
_PATIENCE = 30.0  # seconds

Waits = list[tuple[float, float]]
"""When each command was dispatched and answered, on the monotonic clock."""


class Kill(NamedTuple):
    """When a worker was killed, and when another was seen in its place; on the monotonic clock."""

    done: float
    back: float


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the longest time in milliseconds."""
    over, waits = Event(), Waits()
    with folder() as place, working(url=f"sqlite:///{place / 'bank.db'}") as kernel:
        works = [partial(_deposit, kernel, caller, over, waits) for caller in range(MANY)]
        with ThreadPoolExecutor(1) as aside:
            load = aside.submit(together, works)
            try:
                kills = _kill_again_and_again(kernel, scaled(_KILLS, scale, WORKERS), say)
            finally:
                over.set()
            load.result()
    longest = sorted(1000 * longest_wait(waits, kill) for kill in kills)
    p50, most = quantile(longest, 0.5), longest[-1]
    shown = f"p50 {p50:.0f} ms, longest {most:.0f} ms of {len(kills)} kills"
    name = f"until the accounts of a killed worker are served again, {MANY} callers"
    details = {"p50": p50, "longest": longest, "commands": len(waits)}
    return [Figure(name, most, "ms", shown, at_most=1000, details=details)]


def _deposit(kernel: ProcessKernel, caller: int, over: Event, waits: Waits) -> None:
    chosen = random.Random(caller)
    for number in count():
        if over.is_set():
            return
        to, by = account(chosen.randrange(_ACCOUNTS)), f"{caller}-{number}"
        begun = time.monotonic()
        kernel.dispatch(Command(TYPE, to, "deposit", {"amount": 1}, command_id=by))
        waits.append((begun, time.monotonic()))


def _kill_again_and_again(kernel: ProcessKernel, kills: int, say: Say) -> list[Kill]:
    """Kill one worker after the other."""
    done = []
    for number in range(kills):
        say(f"kill {number + 1} of {kills}")
        time.sleep(random.uniform(_SHORTEST, _LONGEST))
        victim = workers_of(kernel)[number % WORKERS]
        assert victim.pid is not None
        begun = time.monotonic()
        os.kill(victim.pid, signal.SIGKILL)
        _wait_for_the_next(kernel, number % WORKERS, victim.restarts)
        done.append(Kill(begun, time.monotonic()))
    return done


def _wait_for_the_next(kernel: ProcessKernel, index: int, restarts: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    while (now := workers_of(kernel)[index]).pid is None or now.restarts == restarts:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{now.name} is not there again within {_PATIENCE:g} s")
        time.sleep(_LOOK_AGAIN)


def longest_wait(waits: Waits, kill: Kill) -> float:
    """Return the longest that a command had to wait from a kill on, in seconds."""
    delayed = [times for times in waits if times[0] < kill.back and times[1] > kill.done]
    return max(answered - max(dispatched, kill.done) for dispatched, answered in delayed)
