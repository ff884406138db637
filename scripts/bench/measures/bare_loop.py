"""dispatch against a bare loop over the same domain functions, 100 live aggregates, one caller.

The bare loop does what a programmer would write without eskernel: for each request a new Command,
handle_command, a look whether it was refused, apply_event, the state into a dict and the event
into a list. The dispatching loop makes a Command for each request, too. The harsher variant has
all commands made beforehand for both, and a bare loop that keeps no events.
"""

from __future__ import annotations

from functools import partial

from domains.bank_account import State
from eskernel import Command, Kernel
from scripts.bench.accounts import command_of, dispatch_steps, running, steps
from scripts.bench.figure import Figure
from scripts.bench.rivals.bare import loop_over_commands, loop_over_steps
from scripts.bench.timing import Load, Rates, Say, alternate, rounds, scaled

_COMMANDS, _ROUNDS = 10_000, 51


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the ratio, and the ratio of the harsher variant."""
    with running() as kernel:
        plain = _against_steps(kernel, scale, say)
    with running() as kernel:
        harsh = _against_commands(kernel, scale, say)
    return [
        plain.figure("dispatch against a bare loop", at_least=0.2),
        harsh.figure("dispatch against a bare loop, commands ready, no events kept"),
    ]


def _against_steps(kernel: Kernel, scale: float, say: Say) -> Rates:
    count = scaled(_COMMANDS, scale)
    todo = steps(count)
    states = _states(kernel)
    ours = Load(count, partial(dispatch_steps, kernel, todo))
    theirs = Load(count, partial(loop_over_steps, states, todo))
    return alternate(rounds(_ROUNDS, scale), ours, theirs, say)


def _against_commands(kernel: Kernel, scale: float, say: Say) -> Rates:
    count = scaled(_COMMANDS, scale)
    commands = [command_of(step) for step in steps(count)]
    states = _states(kernel)
    ours = Load(count, partial(_dispatch, kernel, commands))
    theirs = Load(count, partial(loop_over_commands, states, commands))
    return alternate(rounds(_ROUNDS, scale), ours, theirs, say)


def _states(kernel: Kernel) -> dict[str, State]:
    """Return what the accounts hold, funds included."""
    return {name: kernel.state_of(kind, name)[0] for kind, name in kernel.live_aggregates()}


def _dispatch(kernel: Kernel, commands: list[Command]) -> None:
    for command in commands:
        kernel.dispatch(command)
