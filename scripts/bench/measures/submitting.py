"""submit against dispatch, 100 live aggregates, one caller; for information.

All commands are submitted, then all their futures awaited.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from eskernel import Kernel
from scripts.bench.accounts import Step, command_of, dispatch_steps, running, steps
from scripts.bench.figure import Figure
from scripts.bench.timing import Load, Say, alternate, scaled

_ROUNDS = 5
_AWAITED = 10.0  # seconds


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the ratio."""
    todo = steps(scaled(20_000, scale))  # 200 an aggregate: no inbox is full
    with running() as kernel:
        submitted = Load(len(todo), partial(_submit, kernel, todo))
        dispatched = Load(len(todo), partial(dispatch_steps, kernel, todo))
        rates = alternate(_ROUNDS, submitted, dispatched, say)
    return [rates.figure("submit against dispatch")]


def _submit(kernel: Kernel, todo: Sequence[Step]) -> None:
    for future in [kernel.submit(command_of(step)) for step in todo]:
        future.result(_AWAITED)
