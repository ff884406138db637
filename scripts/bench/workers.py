"""Workers: ProcessKernels as the measures use them, and the processes they consist of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from eskernel.actors.tree import Node
from eskernel.processes import ProcessKernel
from scripts.bench.accounts import DOMAINS, HOUR, LIVE, fund

WORKERS = 2


@contextmanager
def working(
    accounts: int = LIVE, url: str = "memory:", workers: int = WORKERS
) -> Iterator[ProcessKernel]:
    """Run a ProcessKernel whose accounts are live, funded, and stay live."""
    with ProcessKernel(DOMAINS, url, workers=workers, passivation_timeout=HOUR) as kernel:
        fund(kernel, accounts)
        yield kernel


class Worker(NamedTuple):
    """A worker as the supervision tree shows it.

    Attributes:
        name: of its place; whoever replaces it has the same.
        pid: of the process; None while there is none.
        restarts: how many were there before it.
    """

    name: str
    pid: int | None
    restarts: int


def workers_of(kernel: ProcessKernel) -> list[Worker]:
    """Return the workers."""
    nodes = [
        node for node in kernel.tree(max_aggregates=0).children if node.name.startswith("worker-")
    ]
    return [Worker(node.name, _pid_in(node), node.restarts) for node in nodes]


def _pid_in(node: Node) -> int | None:
    return int(node.actor.removeprefix("process ")) if node.alive else None
