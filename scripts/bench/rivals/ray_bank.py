"""The bank account in plain Ray actors: a call for each command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ray

from domains.bank_account import Event, State, apply_event, handle_command, init
from eskernel import Rejected
from eskernel.values import shard_of
from scripts.bench.accounts import TYPE, Step, command_of


class Bank:
    """Runs the domain's functions for many accounts, keeps the states and the events."""

    def __init__(self) -> None:
        self._states: dict[str, State] = {}
        self._events: list[Event] = []

    def handle(self, *step: Any) -> Event | Rejected:
        """Decide a command and return the event."""
        command = command_of(step)
        state = self._states.get(command.aggregate_id) or init()
        event = handle_command(command, state)
        if not isinstance(event, Rejected):
            self._states[command.aggregate_id] = apply_event(event, state)
            self._events.append(event)
        return event


class Banks:
    """So many such actors, each with a part of the accounts."""

    def __init__(self, count: int) -> None:
        bank = ray.remote(Bank).options(num_cpus=0)
        self._banks = [bank.remote() for _ in range(count)]

    def call(self, todo: Sequence[Step]) -> None:
        """Have a command decided for each step, one after the other."""
        for step in todo:
            bank = self._banks[shard_of((TYPE, step[0]), len(self._banks))]
            assert not isinstance(ray.get(bank.handle.remote(*step)), Rejected)
