"""A bank account in whole minor units (cents): the smallest domain that can say no."""

from __future__ import annotations

from typing import Any

from eskernel import Command, Rejected

State = dict[str, int]
Event = dict[str, Any]


def init() -> State:
    return {"balance": 0}


def handle_command(command: Command, state: State) -> Event | Rejected:
    kind, payload = command.type, command.payload
    amount = payload.get("amount") if isinstance(payload, dict) else None
    if type(amount) is not int or amount < 1:  # not isinstance: True is no amount
        return _invalid(command)
    if kind == "deposit":
        return {"type": "deposited", "amount": amount}
    if kind == "withdraw":
        balance = state["balance"]
        if amount > balance:
            return Rejected("insufficient_funds", {"balance": balance, "asked": amount})
        return {"type": "withdrawn", "amount": amount}
    return _invalid(command)


def apply_event(payload: Event, state: State) -> State:
    kind = payload["type"]
    if kind == "deposited":
        return {"balance": state["balance"] + payload["amount"]}
    if kind == "withdrawn":
        return {"balance": state["balance"] - payload["amount"]}
    raise ValueError(f"unknown event {payload!r}")


def _invalid(command: Command) -> Rejected:
    expected = 'deposit or withdraw with {"amount": a whole number of at least 1}'
    actual = f"{command.type!r} with {command.payload!r}"
    return Rejected("invalid_command", f"expected {expected}, not {actual}")
