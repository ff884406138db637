"""How long single dispatches take, one caller, 100 live aggregates; for information."""

from __future__ import annotations

from time import perf_counter_ns

from scripts.bench.accounts import command_of, running, steps
from scripts.bench.figure import Figure
from scripts.bench.timing import Say, quantile, scaled


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the median in microseconds."""
    commands = [command_of(step) for step in steps(scaled(100_000, scale))]
    say("dispatching")
    taken = []
    with running() as kernel:
        for command in commands:
            start = perf_counter_ns()
            kernel.dispatch(command)
            taken.append((perf_counter_ns() - start) / 1000)
    p50, p99, p999 = (quantile(taken, share) for share in (0.5, 0.99, 0.999))
    shown = f"p50 {p50:.1f} µs, p99 {p99:.1f} µs, p99.9 {p999:.1f} µs"
    details = {"p50": p50, "p99": p99, "p99.9": p999}
    return [Figure("latency of a dispatch", p50, "µs", shown, details=details)]
