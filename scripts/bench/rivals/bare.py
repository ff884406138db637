"""The bare loop: what a programmer writes who needs neither threads, nor a store, nor safety."""

from __future__ import annotations

from collections.abc import Sequence

from domains.bank_account import Event, State, apply_event, handle_command, init
from eskernel import Command, Rejected
from scripts.bench.accounts import TYPE, Step


def loop_over_steps(states: dict[str, State], todo: Sequence[Step]) -> None:
    """For each request: make a command, decide it, keep the event and the new state."""
    refused = 0
    events: list[Event] = []
    for aggregate_id, kind, amount in todo:
        command = Command(TYPE, aggregate_id, kind, {"amount": amount})
        state = states.get(aggregate_id)
        if state is None:
            state = init()
        event = handle_command(command, state)
        if isinstance(event, Rejected):
            refused += 1
            continue
        states[aggregate_id] = apply_event(event, state)
        events.append(event)
    assert not refused


def loop_over_commands(states: dict[str, State], commands: Sequence[Command]) -> None:
    """Do the same with commands made beforehand, and keep no event: the least there is."""
    refused = 0
    for command in commands:
        aggregate_id = command.aggregate_id
        state = states[aggregate_id]
        event = handle_command(command, state)
        if isinstance(event, Rejected):
            refused += 1
            continue
        states[aggregate_id] = apply_event(event, state)
    assert not refused
