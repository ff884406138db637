"""dispatch against the library `eventsourcing` with its in-memory recorder and aggregate cache.

The same accounts and steps. The library is set up as fast as its documentation allows: cached
aggregates are not checked for newer events. It lets one switch off the copy that a command works
on as well, but means that for immutable aggregates (release notes of 9.2.4): without it a command
that fails half way, or two threads at once, corrupt the cached object. eskernel never runs that
risk, so the figure without copies only informs.
"""

from __future__ import annotations

from functools import partial

from eskernel import Kernel
from scripts.bench.accounts import LIVE, dispatch_steps, running, steps
from scripts.bench.figure import Figure
from scripts.bench.rivals.eventsourcing_bank import (
    CACHED,
    WITHOUT_COPIES,
    Bank,
    carry_out,
    open_accounts,
)
from scripts.bench.timing import Load, Rates, Say, alternate, rounds, scaled

_ROUNDS = 41


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the ratio, and the ratio to the library without its copies."""
    with running() as kernel:
        documented = _compare(kernel, CACHED, scale, say)
        unsafe = _compare(kernel, WITHOUT_COPIES, scale, say)
    return [
        documented.figure("dispatch against eventsourcing 9.5", at_least=8),
        unsafe.figure("dispatch against eventsourcing 9.5 without its copies"),
    ]


def _compare(kernel: Kernel, env: dict[str, str], scale: float, say: Say) -> Rates:
    bank = Bank(env)
    ids = open_accounts(bank, LIVE)
    many, few = steps(scaled(5_000, scale)), steps(scaled(500, scale))
    ours = Load(len(many), partial(dispatch_steps, kernel, many))
    theirs = Load(len(few), partial(carry_out, bank, ids, few))
    return alternate(rounds(_ROUNDS, scale), ours, theirs, say)
