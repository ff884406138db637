"""Latencies: how long single dispatches take while a load runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter

from eskernel import Command
from scripts.bench.accounts import TYPE, AnyKernel, Step
from scripts.bench.figure import Figure, digits
from scripts.bench.timing import quantile


class Latencies:
    """What dispatches took, in milliseconds; any number of threads may add to it."""

    def __init__(self) -> None:
        self._taken: list[float] = []

    def dispatch_steps(self, kernel: AnyKernel, todo: Sequence[Step]) -> None:
        """Dispatch a command for each step; none may be refused."""
        add = self._taken.append
        for aggregate_id, kind, amount in todo:
            command = Command(TYPE, aggregate_id, kind, {"amount": amount})
            start = perf_counter()
            kernel.dispatch(command)
            add((perf_counter() - start) * 1000)

    def beside(self, figure: Figure) -> Figure:
        """Return a figure that shows the median and the 99th percentile, too."""
        p50, p99 = quantile(self._taken, 0.5), quantile(self._taken, 0.99)
        shown = f"{figure.shown}; dispatch p50 {digits(p50, 3)} ms, p99 {digits(p99, 3)} ms"
        return replace(figure, shown=shown, details={**figure.details, "p50": p50, "p99": p99})
