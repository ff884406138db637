"""dispatch against two plain Pykka asks: of a manager, which asks the aggregate's actor.

The rate of the asks depends on where the system runs the three threads: alone on two cores they
are slower than when another process keeps one core busy. Many short rounds, therefore.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from pykka import ActorRef

from eskernel import Rejected
from scripts.bench.accounts import Step, command_of, dispatch_steps, running, steps
from scripts.bench.figure import Figure
from scripts.bench.rivals.pykka_bank import Manager
from scripts.bench.timing import Load, Say, alternate, rounds, scaled

_ROUNDS = 41


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the ratio."""
    many, few = steps(scaled(5_000, scale)), steps(scaled(500, scale))
    manager = Manager.start()
    try:
        with running() as kernel:
            ours = Load(len(many), partial(dispatch_steps, kernel, many))
            theirs = Load(len(few), partial(_ask, manager, few))
            rates = alternate(rounds(_ROUNDS, scale), ours, theirs, say)
    finally:
        manager.stop()
    return [rates.figure("dispatch against two plain Pykka asks", at_least=20)]


def _ask(manager: ActorRef[Manager], todo: Sequence[Step]) -> None:
    refused = sum(isinstance(manager.ask(command_of(step)), Rejected) for step in todo)
    assert not refused
