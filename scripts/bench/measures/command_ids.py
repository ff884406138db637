"""dispatch of commands that carry a command_id against those that do not; for information."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import partial

from eskernel import Command, Kernel
from scripts.bench.accounts import TYPE, Step, dispatch_steps, running, steps
from scripts.bench.figure import Figure
from scripts.bench.timing import Load, Say, alternate, scaled

_ROUNDS = 7


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the ratio."""
    todo = steps(scaled(20_000, scale))
    fresh_ids = map("c-{}".format, itertools.count())
    with running() as kernel:
        named = Load(len(todo), partial(_dispatch_named, kernel, todo, fresh_ids))
        unnamed = Load(len(todo), partial(dispatch_steps, kernel, todo))
        rates = alternate(_ROUNDS, named, unnamed, say)
    return [rates.figure("dispatch with a command_id against without")]


def _dispatch_named(kernel: Kernel, todo: Sequence[Step], fresh_ids: Iterator[str]) -> None:
    for name, kind, amount in todo:
        payload = {"amount": amount}
        kernel.dispatch(Command(TYPE, name, kind, payload, command_id=next(fresh_ids)))
