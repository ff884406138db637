"""Stock of one article: orders reserve it, and wait in line while there is too little.

Shows several events from one command, None for nothing to do, event types of its own and a
`version` that decides when old snapshots are dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from eskernel import Command, Rejected

version = 1


@dataclass(frozen=True, slots=True)
class Movement:
    """An event; its kind is received, requested, reserved, released or shipped."""

    kind: str
    quantity: int
    order: str = ""


@dataclass(frozen=True, slots=True)
class Stock:
    """The state: what is free, and quantities by order, first come first."""

    free: int = 0
    waiting: dict[str, int] = field(default_factory=dict)
    reserved: dict[str, int] = field(default_factory=dict)


def init() -> Stock:
    return Stock()


def event_type(payload: Movement) -> str:
    return f"stock.{payload.kind}"


def handle_command(command: Command, state: Stock) -> list[Movement] | Rejected | None:
    first = _decide(command.type, command.payload, state)
    if not isinstance(first, Movement):
        return first
    return [first, *_reservations(apply_event(first, state))]


def _decide(kind: str, payload: Any, stock: Stock) -> Movement | Rejected | None:
    known = stock.waiting | stock.reserved
    match kind, payload:
        case "receive", {"quantity": int(count)} if count > 0 and count is not True:
            return Movement("received", count)
        case "reserve", {"order": str(order), "quantity": int(count)} if (
            count > 0 and count is not True
        ):
            if order not in known:
                return Movement("requested", count, order)
            return None if known[order] == count else Rejected("already_requested", known[order])
        case "release", {"order": str(order)}:
            return Movement("released", known[order], order) if order in known else None
        case "ship", {"order": str(order)}:
            held = stock.reserved.get(order)
            return Movement("shipped", held, order) if held else Rejected("not_reserved", order)
    expected = "receive(quantity), reserve(order, quantity), release(order) or ship(order)"
    return Rejected("invalid_command", f"expected {expected}, not {kind!r} {payload!r}")


def _reservations(stock: Stock) -> list[Movement]:
    """Serve those who wait, in order, until the next one asks for more than is left."""
    free, served = stock.free, []
    for order, quantity in stock.waiting.items():
        if quantity > free:
            break
        free -= quantity
        served.append(Movement("reserved", quantity, order))
    return served


def apply_event(payload: Movement, state: Stock) -> Stock:
    free, waiting, reserved = state.free, dict(state.waiting), dict(state.reserved)
    quantity, order = payload.quantity, payload.order
    match payload.kind:
        case "received":
            free += quantity
        case "requested":
            waiting[order] = quantity
        case "reserved":
            free -= quantity
            reserved[order] = waiting.pop(order)
        case "released":
            waiting.pop(order, None)
            free += reserved.pop(order, 0)
        case "shipped":
            del reserved[order]
        case unknown:
            raise ValueError(f"unknown movement {unknown!r}")
    return Stock(free, waiting, reserved)
