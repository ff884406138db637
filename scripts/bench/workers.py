"""Workers: ProcessKernels as the measures use them, and the processes they consist of."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import NamedTuple

from eskernel.processes import ProcessKernel
from scripts.bench.accounts import DOMAINS, HOUR

WORKERS = 2


def working(
    domains: Mapping[str, ModuleType] = DOMAINS, url: str = "memory:", workers: int = WORKERS
) -> ProcessKernel:
    """Return a ProcessKernel, to be started, whose aggregates stay live."""
    return ProcessKernel(domains, url, workers=workers, passivation_timeout=HOUR)


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
    nodes = {node.name: node for node in kernel.tree(max_aggregates=0).children}
    names = [f"worker-{number}" for number in range(WORKERS)]
    pids = kernel.worker_pids()
    return [Worker(name, pid, nodes[name].restarts) for name, pid in zip(names, pids, strict=True)]
