"""The balance of every bank account, in one dictionary: a projection for totals and searches."""

from __future__ import annotations

from eskernel import Event

State = dict[str, int]

version = 1
aggregate_types = {"bank_account"}

_SIGNS = {"deposited": 1, "withdrawn": -1}


def init() -> State:
    return {}


def handle_event(event: Event, state: State) -> State:
    account = event.stream_id[1]
    amount = _SIGNS[event.type] * event.payload["amount"]
    state[account] = state.get(account, 0) + amount  # a projection's state is its own to change
    return state
