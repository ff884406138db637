"""See event sourcing work: `make demo`.

A bank account goes through everything eskernel promises, on SQLite in a temporary folder, and at
last a second process brings it back from disk. Every step checks what it shows, and the first that
is not as it should be ends the demo with exit status 1. The steps come first, in the order they
run; `demo_screen` prints.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import structlog
from demo_screen import block, fact, failed, heading, print_anywhere, show_command, title
from demo_second_process import SecondProcessFailed, second_process
from demo_slot_machine import SlotMachine

from domains import bank_account
from eskernel import Accepted, Command, Event, Kernel
from eskernel.contracts import EventStore
from eskernel.errors import AggregateCrashed, CommandRejected, EskernelError
from eskernel_stores import open_store

ACCOUNT = ("bank_account", "acc-1")
MACHINE = ("slot_machine", "s-1")
STARTED = {"actor-pool", "committer", "aggregate-supervisor", "aggregate-manager", "timer"}

IDLE = 0.75
"""Seconds after which an idle aggregate is stopped; 5 unless you say otherwise."""
PATIENCE = 10.0
"""Seconds to wait for what happens on other threads."""


def main() -> int:
    """Run the steps; return the exit status."""
    print_anywhere()
    log = keep_the_log()
    began = time.monotonic()
    title("eskernel: pure domains, stored as events, on supervised actors")
    try:
        with TemporaryDirectory(prefix="eskernel-demo-") as folder:
            url = f"sqlite:///{Path(folder) / 'bank.db'}"
            in_this_process(url, log)
            rehydrate_from_disk(url)
    except (NotAsItShould, EskernelError) as error:
        kind = "" if isinstance(error, NotAsItShould) else f"{type(error).__name__}: "
        failed(f"{kind}{error}", log)
        return 1
    title(f"All as it should be, in {time.monotonic() - began:.1f} seconds.")
    return 0


# The steps.


def in_this_process(url: str, log: list[str]) -> None:
    """Run all steps but the last; the kernel is stopped and the store closed after them."""
    domains = {"bank_account": bank_account, "slot_machine": SlotMachine}
    with (
        closing(open_store(url)) as store,
        Kernel(domains, store, passivation_timeout=IDLE) as kernel,
    ):
        start(kernel, url)
        deposit(kernel)
        withdraw(kernel)
        overdraw(kernel)
        passivate(kernel)
        rehydrate(kernel, store)
        repeat(kernel, store)
        crash(kernel, log)


def start(kernel: Kernel, url: str) -> None:
    heading("Start the supervision tree, on SQLite")
    fact("events go to", url)
    tree = kernel.tree()
    block(str(tree))
    names = [node.name for node in tree.walk()]
    check("running", [node.name for node in tree.walk() if node.alive], names)
    check("missing", sorted(STARTED.difference(names)), [])
    check("live aggregates", live(kernel), [])


def deposit(kernel: Kernel) -> None:
    heading("Deposit 100")
    done = dispatch(kernel, Command(*ACCOUNT, "deposit", {"amount": 100}))
    check("events stored", facts(done.events), ["1 deposited 100"])
    check("state, sequence", kernel.state_of(*ACCOUNT), ({"balance": 100}, 1))
    check("live aggregates", live(kernel), ["bank_account/acc-1"])


def withdraw(kernel: Kernel) -> None:
    heading("Withdraw 10")
    done = dispatch(kernel, Command(*ACCOUNT, "withdraw", {"amount": 10}))
    check("events stored", facts(done.events), ["2 withdrawn 10"])
    check("state, sequence", kernel.state_of(*ACCOUNT), ({"balance": 90}, 2))
    block(str(kernel.tree()))


def overdraw(kernel: Kernel) -> None:
    heading("Withdraw 1000: the domain refuses")
    command = Command(*ACCOUNT, "withdraw", {"amount": 1000})
    refused = expect_error(CommandRejected, kernel, command)
    check("reason", refused.reason, "insufficient_funds")
    check("detail", refused.detail, {"balance": 90, "asked": 1000})
    check("state, sequence", kernel.state_of(*ACCOUNT), ({"balance": 90}, 2))


def passivate(kernel: Kernel) -> None:
    heading(f"Leave it alone for {IDLE} seconds: passivated")
    actor = kernel.aggregate_ref(*ACCOUNT)
    wait_until("the idle actor is stopped", lambda: not kernel.live_aggregates())
    block(str(kernel.tree()))
    check("live aggregates", live(kernel), [])
    check("its actor still alive", actor is not None and actor.is_alive(), False)


def rehydrate(kernel: Kernel, store: EventStore) -> None:
    heading("Deposit 50: the account is back, rebuilt from its events")
    check("what is stored", facts(stream(store)), ["1 deposited 100", "2 withdrawn 10"])
    done = dispatch(kernel, Command(*ACCOUNT, "deposit", {"amount": 50}))
    check("events stored", facts(done.events), ["3 deposited 50"])
    check("state, sequence", kernel.state_of(*ACCOUNT), ({"balance": 140}, 3))
    check("live aggregates", live(kernel), ["bank_account/acc-1"])


def repeat(kernel: Kernel, store: EventStore) -> None:
    heading("Deposit 25 twice with one command_id: counted once")
    command = Command(*ACCOUNT, "deposit", {"amount": 25}, command_id="transfer-7")
    first, second = dispatch(kernel, command), dispatch(kernel, command)
    check("sequence the first time", first.sequence, 4)
    check("sequence the second time", second.sequence, 4)
    check("the same outcome", second == first, True)
    check("events in the stream", len(stream(store)), 4)
    check("state, sequence", kernel.state_of(*ACCOUNT), ({"balance": 165}, 4))


def crash(kernel: Kernel, log: list[str]) -> None:
    heading("Crash another aggregate: the rest is unharmed")
    dispatch(kernel, Command(*MACHINE, "play"))
    crashed = expect_error(AggregateCrashed, kernel, Command(*MACHINE, "kick"))
    check("cause", repr(crashed.__cause__), "RuntimeError('the reels are stuck')")
    wait_until("the kernel logs the crash", lambda: any("aggregate_crashed" in one for one in log))
    block("\n".join(log))
    done = dispatch(kernel, Command(*MACHINE, "play"))
    check("a fresh actor goes on at sequence", done.sequence, 2)
    check("state, sequence", kernel.state_of(*ACCOUNT), ({"balance": 165}, 4))
    done = dispatch(kernel, Command(*ACCOUNT, "withdraw", {"amount": 65}))
    check("the account goes on at sequence", done.sequence, 5)
    check("restarts in the tree", sum(node.restarts for node in kernel.tree().walk()), 0)


def rehydrate_from_disk(url: str) -> None:
    heading("Stop, and start a second process: the account is back, from disk")
    try:
        found = second_process(url, ACCOUNT)
    except SecondProcessFailed as error:
        raise NotAsItShould(f"the second process: {error}") from None
    fact("process", f"{found.pid}, not {os.getpid()}")
    check("events replayed", found.replayed, 5)
    check("state, sequence", (found.state, found.sequence), ({"balance": 100}, 5))


# What the steps share.


class NotAsItShould(Exception):
    """A step gave something else than it should."""


def dispatch(kernel: Kernel, command: Command) -> Accepted:
    """Show a command and have it decided."""
    show_command(command)
    return kernel.dispatch(command)


def expect_error(kind: Any, kernel: Kernel, command: Command) -> Any:
    """Show a command and return the error it must raise."""
    try:
        done = dispatch(kernel, command)
    except kind as error:
        check("the caller gets", type(error).__name__, kind.__name__)
        return error
    raise NotAsItShould(f"the caller gets: {done}, but it should be {kind.__name__}")


def check(what: str, found: object, wanted: object) -> None:
    """Show a fact if it is the wanted one, else end the demo."""
    if found != wanted:
        raise NotAsItShould(f"{what}: {found!r}, but it should be {wanted!r}")
    fact(what, found)


def live(kernel: Kernel) -> list[str]:
    """Return the names of the live aggregates."""
    return ["/".join(stream_id) for stream_id in kernel.live_aggregates()]


def wait_until(what: str, holds: Callable[[], Any]) -> None:
    """Wait for something that happens on another thread."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            raise NotAsItShould(f"{what}: not within {PATIENCE:g} seconds")
        time.sleep(0.01)


def stream(store: EventStore) -> list[Event]:
    """Return the account's events as the store holds them."""
    return store.fold(ACCOUNT, lambda events, event: [*events, event], [])


def facts(events: list[Event] | tuple[Event, ...]) -> list[str]:
    """Return a few words on each event."""
    return [f"{event.sequence} {event.type} {event.payload.get('amount')}" for event in events]


def keep_the_log() -> list[str]:
    """Have the kernel's log kept in a list instead of printed between the steps.

    The kernel logs through structlog and leaves its configuration to the host, here this script.
    """
    log: list[str] = []

    def keep(_logger: Any, level: str, entry: Any) -> Any:
        log.append(f"kernel log: {level}: {entry['event']} {entry.get('stream_id', '')}")
        raise structlog.DropEvent

    structlog.configure(processors=[keep])
    return log


if __name__ == "__main__":
    sys.exit(main())
