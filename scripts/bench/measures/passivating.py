"""How long a command takes while 100,000 aggregates passivate.

One thread dispatches 1,000 commands a second to 100 other aggregates, open loop: each at its
intended time whatever became of those before, and timed from that intended time, so that a stall
counts for every command it delays. Only commands sent between the first and the last passivation
count, lest quiet times flatter the figure. Median of three runs.
"""

from __future__ import annotations

import gc
from statistics import median
from time import perf_counter, sleep
from typing import NamedTuple

from eskernel import Command, Kernel
from eskernel_stores import MemoryStore
from scripts.bench.accounts import DOMAINS, LIVE, TYPE, account, dispatch_steps
from scripts.bench.figure import Figure
from scripts.bench.timing import Say, quantile, scaled

_RUNS = 3
_INTERVAL = 0.001  # seconds from one intended time to the next
_PATIENCE = 60.0
_TIMEOUT = 3.0  # longer than it takes to start them all


class Sent(NamedTuple):
    """Seconds from the intended time to the answer.

    Attributes:
        before: while all the aggregates were live.
        during: from their first passivation to their last.
    """

    before: list[float]
    during: list[float]


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the 99th percentile in milliseconds."""
    count = scaled(100_000, scale)
    runs = []
    for number in range(_RUNS):
        gc.collect()  # what the run before left behind
        say(f"run {number + 1} of {_RUNS}")
        runs.append(_run(count, _TIMEOUT * min(scale, 1) + 0.1))
    p99 = median(quantile(sent.during, 0.99) for sent in runs) * 1000
    quiet = median(quantile(sent.before, 0.99) for sent in runs) * 1000
    slowest = max(max(sent.during) for sent in runs) * 1000
    seconds = median(len(sent.during) for sent in runs) * _INTERVAL
    shown = f"{p99:.2f} ms over {seconds:.1f} s; before {quiet:.2f} ms, slowest {slowest:.0f} ms"
    details = {"p99_before": quiet, "slowest": slowest, "seconds": seconds}
    name = f"dispatch p99 while {count:,} aggregates passivate"
    return [Figure(name, p99, "ms", shown, None, 20, details)]


def _run(count: int, timeout: float) -> Sent:
    with Kernel(DOMAINS, MemoryStore(), passivation_timeout=timeout) as kernel:
        idle = [f"idle-{number}" for number in range(count)]
        dispatch_steps(kernel, [(name, "deposit", 300) for name in idle])
        if not _is_live(kernel, idle[0]):
            raise RuntimeError(f"the first ended before the last began: {timeout} s is too short")
        sent = _send(kernel, idle)
        left = {name for _, name in kernel.live_aggregates()}.intersection(idle)
        if left:
            raise RuntimeError(f"{len(left)} aggregates did not passivate in order")
    return sent


def _send(kernel: Kernel, idle: list[str]) -> Sent:
    """Send until the last of the idle aggregates has ended.

    They are started in order and the kernel ends them in order, so two need be watched.
    """
    sent = Sent([], [])
    todo = [(account(number), "deposit", 300) for number in range(LIVE)]
    start = perf_counter()
    for number in range(int(_PATIENCE / _INTERVAL)):
        name, kind, amount = todo[number % LIVE]
        intended = start + number * _INTERVAL
        if (early := intended - perf_counter()) > 0:
            sleep(early)
        kernel.dispatch(Command(TYPE, name, kind, {"amount": amount}))
        taken = perf_counter() - intended
        begun = bool(sent.during) or not _is_live(kernel, idle[0])
        (sent.during if begun else sent.before).append(taken)
        if begun and not _is_live(kernel, idle[-1]):
            return sent
    raise RuntimeError(f"they did not passivate within {_PATIENCE} s")


def _is_live(kernel: Kernel, name: str) -> bool:
    return kernel.aggregate_ref(TYPE, name) is not None
