"""The demo's steps with commands: what becomes of them, of their account, and of its events."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

from demo_checks import NotAsItShould, check, dispatch, expect_error, wait_until
from demo_screen import block, fact, heading
from demo_second_process import SecondProcessFailed, second_process
from demo_slot_machine import SlotMachine

from domains import bank_account
from eskernel import Command, Event, Kernel
from eskernel.contracts import EventStore
from eskernel.errors import AggregateCrashed, CommandRejected
from eskernel_stores import open_store

ACCOUNT = ("bank_account", "acc-1")
MACHINE = ("slot_machine", "s-1")
STARTED = {
    *("actor-pool", "committer", "aggregate-supervisor", "aggregate-manager", "timer"),
    "projection-supervisor",
}

IDLE = 0.75
"""Seconds after which an idle aggregate is stopped; 5 unless you say otherwise."""


def show_write_side(database: Path, log: list[str]) -> None:
    """Run the steps on a new database: the last in a second process.

    Args:
        database: where the file shall be.
        log: what the kernel logs.
    """
    url = f"sqlite:///{database}"
    in_this_process(url, log)
    rehydrate_from_disk(url)


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


def live(kernel: Kernel) -> list[str]:
    """Return the names of the live aggregates."""
    return ["/".join(stream_id) for stream_id in kernel.live_aggregates()]


def stream(store: EventStore) -> list[Event]:
    """Return the account's events as the store holds them."""
    return store.fold(ACCOUNT, lambda events, event: [*events, event], [])


def facts(events: list[Event] | tuple[Event, ...]) -> list[str]:
    """Return a few words on each event."""
    return [f"{event.sequence} {event.type} {event.payload.get('amount')}" for event in events]
