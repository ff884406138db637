"""Accounts in two worker processes, in memory: what the way there and back costs a light command.

64 callers that block are measured against as many that ask plain Pykka actors of this process, one
ask a command; then one caller alone; then a caller that submits, and awaits, with thousands under
way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from statistics import median
from time import perf_counter_ns

from pykka import ActorRef

from eskernel import Accepted
from eskernel.processes import ProcessKernel
from scripts.bench.accounts import LIVE, Step, command_of, fund, steps
from scripts.bench.callers import MORE, callers_load, together
from scripts.bench.figure import Figure, a_second
from scripts.bench.rivals.pykka_bank import Account
from scripts.bench.timing import Load, Say, alternate, quantile, rounds, scaled, take_turns
from scripts.bench.workers import WORKERS, working

_COMMANDS, _ROUNDS = 6_400, 15
_ALONE = 5_000
_SUBMITTED, _UNDER_WAY = 40_000, 5_000
_AWAITED = 10.0  # seconds


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the ratio of rates, the latency of one caller, and the rate of submitting."""
    with working() as kernel:
        fund(kernel, LIVE)
        return [
            _against_pykka(kernel, scale, say),
            _alone(kernel, scale, say),
            _submitting(kernel, scale, say),
        ]


def _against_pykka(kernel: ProcessKernel, scale: float, say: Say) -> Figure:
    count = scaled(_COMMANDS, scale, MORE)
    actors = {name: Account.start() for name in {name for name, _, _ in steps(LIVE)}}
    try:
        each = count // MORE
        shares = [steps(each, offset=caller * LIVE // MORE) for caller in range(MORE)]
        works = [partial(_ask, actors, share) for share in shares]
        theirs = Load(each * MORE, partial(together, works))
        ours = callers_load(kernel, MORE, count)
        rates = alternate(rounds(_ROUNDS, scale), ours, theirs, say)
    finally:
        for actor in actors.values():
            actor.stop()
    name = f"{WORKERS} worker processes against plain Pykka asks in one, {MORE} callers"
    return rates.figure(name, at_least=1)


def _ask(actors: dict[str, ActorRef[Account]], todo: Sequence[Step]) -> None:
    for step in todo:
        actors[step[0]].ask(command_of(step))


def _alone(kernel: ProcessKernel, scale: float, say: Say) -> Figure:
    say("one caller")
    taken = []
    for command in map(command_of, steps(scaled(_ALONE, scale))):
        start = perf_counter_ns()
        kernel.dispatch(command)
        taken.append((perf_counter_ns() - start) / 1000)
    p50, p99 = quantile(taken, 0.5), quantile(taken, 0.99)
    shown = f"p50 {p50:.0f} µs, p99 {p99:.0f} µs"
    name = "dispatch to a worker process and back, 1 caller"
    return Figure(name, p50, "µs", shown, at_most=250, details={"p50": p50, "p99": p99})


def _submitting(kernel: ProcessKernel, scale: float, say: Say) -> Figure:
    todo = steps(scaled(_SUBMITTED, scale))
    load = Load(len(todo), partial(_submit, kernel, todo))
    (rates,) = take_turns(rounds(5, scale), {"submit": load}, say).values()
    rate = median(rates)
    name = f"submit to {WORKERS} worker processes, {_UNDER_WAY:,} under way"
    return Figure(name, rate, "/s", a_second(rate), at_least=40_000, details={"rates": rates})


def _submit(kernel: ProcessKernel, todo: Sequence[Step]) -> None:
    under_way: deque[Future[Accepted]] = deque()
    for step in todo:
        under_way.append(kernel.submit(command_of(step)))
        if len(under_way) == _UNDER_WAY:
            under_way.popleft().result(_AWAITED)
    for future in under_way:
        future.result(_AWAITED)
