"""See a cluster lose a node at work: `make demo-cluster`.

Three NATS servers keep the events of bank accounts; two kernels, a process each, deposit into the
same accounts when the server that leads is killed. Service goes on, the server comes back, and in
the end both kernels, the log and a projection agree on every balance. Every step checks what it
shows, and the first that is not as it should be ends the demo with exit status 1.
`demo_cluster_kernel` is one of the kernels; the servers come from the tests.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from demo_checks import NotAsItShould, check, wait_until
from demo_cluster_kernel import KernelFailed, KernelProcess
from demo_screen import fact, failed, heading, print_anywhere, title

from eskernel import Event
from eskernel.errors import EskernelError
from eskernel_stores import open_store

sys.path[:0] = [str(Path(__file__).parents[1] / "tests")]

from nats_cluster import NatsCluster  # noqa: E402 - found there

NAME = "bank"
ACCOUNTS = ("acc-1", "acc-2", "acc-3")
SOME = 50
"""Deposits of each kernel that are enough to go on to the next step."""
PATIENCE = 60.0
"""Seconds these may take: servers need up to ten to agree on a new leader."""


class Bank(NamedTuple):
    """What the demo is about.

    Attributes:
        cluster: the servers.
        url: of the store there.
        kernels: both.
    """

    cluster: NatsCluster
    url: str
    kernels: tuple[KernelProcess, KernelProcess]


def main() -> int:
    """Run the steps; return the exit status."""
    print_anywhere()
    began = time.monotonic()
    title("eskernel on a cluster: two kernels, three NATS servers, one of them killed")
    try:
        with opened() as bank:
            deposit(bank)
            leader = kill(bank)
            bring_back(bank, leader)
            agree(bank, sum(finish(bank)))
    except KeyboardInterrupt:
        failed("interrupted", [])
        return 130
    except (NotAsItShould, KernelFailed, EskernelError, RuntimeError, OSError) as error:
        kind = "" if isinstance(error, NotAsItShould) else f"{type(error).__name__}: "
        failed(f"{kind}{error}", [])
        return 1
    title(f"All as it should be, in {time.monotonic() - began:.1f} seconds.")
    return 0


@contextmanager
def opened() -> Iterator[Bank]:
    """Start servers and kernels; both are ended afterwards."""
    with ExitStack() as stack:
        heading("Start three NATS servers with JetStream, which sync every write to disk")
        cluster = stack.enter_context(closing(NatsCluster()))
        cluster.start()
        fact("servers", [f"{node.name} (process {node.pid})" for node in cluster.nodes])
        url = cluster.url(NAME)
        fact("events go to", url)
        heading("Start two kernels, each a process of its own, with a projection")
        kernels = (KernelProcess("kernel A", url), KernelProcess("kernel B", url))
        for kernel in kernels:
            stack.enter_context(closing(kernel))
            fact(kernel.name, f"process {kernel.pid}")
        yield Bank(cluster, url, kernels)


# The steps.


def deposit(bank: Bank) -> None:
    heading("Deposit 100 into each account through either kernel")
    for index, account in enumerate(ACCOUNTS):
        first, second = bank.kernels[:: -1 if index % 2 else 1]
        check(f"{account}: {first.name}, sequence", first.ask("deposit", account, 100), 1)
        check(f"{account}: {second.name}, sequence", second.ask("deposit", account, 100), 2)


def kill(bank: Bank) -> int:
    heading("Kill the server that leads, while both kernels deposit 1 after 1")
    for kernel in bank.kernels:
        kernel.ask("begin", *ACCOUNTS)
    wait_for_some(bank)
    leader = bank.cluster.leader_of(f"{NAME}-events")
    bank.cluster.kill(leader)
    fact("killed", bank.cluster.nodes[leader].name)
    wait_for_some(bank)
    new = bank.cluster.leader_of(f"{NAME}-events")
    check("another leads", new != leader, True)
    fact("leader now", bank.cluster.nodes[new].name)
    for kernel in bank.kernels:
        longest = kernel.ask("report")["longest"]
        fact(f"{kernel.name} goes on; longest wait", f"{longest:.1f} seconds")
    return leader


def bring_back(bank: Bank, killed: int) -> None:
    heading("Bring the server back")
    bank.cluster.restart(killed)
    bank.cluster.wait_until_healthy()
    fact("has caught up", bank.cluster.nodes[killed].name)
    wait_for_some(bank)


def finish(bank: Bank) -> Iterator[int]:
    heading("Stop depositing")
    for kernel in bank.kernels:
        report = kernel.ask("end")
        fact(f"{kernel.name} deposits accepted", report["accepted"])
        fact(f"{kernel.name} deposits sent again with the same command_id", report["repeated"])
        yield report["accepted"]


def agree(bank: Bank, deposited: int) -> None:
    heading("Does everybody agree?")
    with closing(open_store(bank.url)) as store:
        events, end = store.fold_all(lambda found, event: [*found, event], [])
    balances = balances_of(events)
    once = Counter(event.command_id for event in events)
    check("events", len(events), deposited + 2 * len(ACCOUNTS))
    check("commands stored twice", [one for one, count in once.items() if count > 1], [])
    check("the log adds up to", sum(balances.values()), deposited + 200 * len(ACCOUNTS))
    fact("balances in the log", balances)
    for kernel in bank.kernels:
        idle = f"{kernel.name} has forgotten its idle accounts"
        wait_until(idle, lambda kernel=kernel: not kernel.ask("live"))
        check(f"{kernel.name} reads them again", kernel.ask("balances", *ACCOUNTS), balances)
        check(f"{kernel.name}'s projection", kernel.ask("projected", end), balances)


# What they share.


def wait_for_some(bank: Bank) -> None:
    """Wait until each kernel has had more deposits accepted."""
    wanted = {kernel: accepted(kernel) + SOME for kernel in bank.kernels}
    for kernel, number in wanted.items():
        wait_until(
            f"{kernel.name} deposits",
            lambda kernel=kernel, number=number: accepted(kernel) >= number,
            PATIENCE,
        )


def accepted(kernel: KernelProcess) -> int:
    """Return how many deposits a kernel has accepted so far."""
    number: int = kernel.ask("report")["accepted"]
    return number


def balances_of(events: list[Event]) -> dict[str, int]:
    """Return what was deposited into each account."""
    found = dict.fromkeys(ACCOUNTS, 0)
    for event in events:
        found[event.stream_id[1]] += event.payload["amount"]
    return found


if __name__ == "__main__":
    sys.exit(main())
