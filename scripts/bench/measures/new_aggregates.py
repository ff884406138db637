"""The first command to each of 100,000 new aggregates, all kept live, one caller.

The garbage collector is left as it is: its full collections grow with what is live, and show up as
slow blocks. Only what an earlier run left behind is collected beforehand. The median of three runs.
"""

from __future__ import annotations

import gc
from statistics import median
from time import perf_counter

from eskernel import Kernel
from scripts.bench.accounts import account, dispatch_steps, running
from scripts.bench.figure import RATIO, Figure, a_second
from scripts.bench.timing import Say, scaled

_RUNS = 3
_BLOCKS = 10


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the rate, and how much slower the slowest block was than the first."""
    size = scaled(100_000, scale, _BLOCKS) // _BLOCKS
    runs = []
    for number in range(_RUNS):
        gc.collect()
        say(f"run {number + 1} of {_RUNS}")
        with running(accounts=0) as kernel:
            runs.append(_time_blocks(kernel, size))
            assert len(kernel.live_aggregates()) == size * _BLOCKS
    rate = median(size * _BLOCKS / sum(blocks) for blocks in runs)
    worst = [max(blocks) / blocks[0] for blocks in runs]
    name = f"first command to each of {size * _BLOCKS:,} new aggregates"
    shown = f"{median(worst):.2f} times; {max(worst):.2f} in the worst of {_RUNS} runs"
    details = {"seconds_per_block": runs}
    return [
        Figure(name, rate, "/s", a_second(rate), at_least=20_000, details=details),
        Figure("the slowest tenth of them against the first", median(worst), RATIO, shown, None, 3),
    ]


def _time_blocks(kernel: Kernel, size: int) -> list[float]:
    """Return the seconds of each block."""
    blocks = []
    for start in range(0, size * _BLOCKS, size):
        todo = [(account(number), "deposit", 300) for number in range(start, start + size)]
        before = perf_counter()
        dispatch_steps(kernel, todo)
        blocks.append(perf_counter() - before)
    return blocks
