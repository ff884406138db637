"""An order's life cycle: place, add_line, pay, ship, cancel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from enum import Enum

from eskernel import Command, Rejected


class Status(Enum):
    NEW = "new"
    PLACED = "placed"  # from here on: named after the event that leads there
    PAID = "paid"
    SHIPPED = "shipped"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Placed:
    customer: str


@dataclass(frozen=True, slots=True)
class LineAdded:
    sku: str
    quantity: int
    price: Decimal


@dataclass(frozen=True, slots=True)
class Paid:
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Shipped:
    """Nothing more to say."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    refund: Decimal


@dataclass(frozen=True, slots=True)
class Order:
    status: Status = Status.NEW
    lines: tuple[LineAdded, ...] = ()
    total: Decimal = Decimal("0.00")


Event = Placed | LineAdded | Paid | Shipped | Cancelled

_EXPECTED = "place(customer), add_line(sku, quantity, price), pay(amount), ship() or cancel()"
_COMMANDS = ("place", "add_line", "pay", "ship", "cancel")
_REFUSED = {
    Status.NEW: dict.fromkeys(_COMMANDS[1:], "not_placed"),
    Status.PLACED: {"place": "already_placed", "ship": "not_paid"},
    Status.PAID: {"place": "already_placed", "add_line": "already_paid", "pay": "already_paid"},
    Status.SHIPPED: dict.fromkeys(_COMMANDS, "already_shipped"),
    Status.CANCELLED: dict.fromkeys(_COMMANDS, "already_cancelled"),
}


def init() -> Order:
    return Order()


def handle_command(command: Command, state: Order) -> Event | Rejected:
    refused = _REFUSED[state.status].get(command.type)
    if refused:
        return Rejected(refused)
    match command.type, command.payload:
        case "place", {"customer": str(customer)} if customer:
            return Placed(customer)
        case "add_line", {"sku": str(sku), "quantity": int(quantity), "price": Decimal() as price}:
            counted = sku and type(quantity) is int and 1 <= quantity <= 10_000
            if counted and price.is_finite() and 0 < price < 10**6 and price == round(price, 2):
                return LineAdded(sku, quantity, round(price, 2))
        case "pay", {"amount": Decimal() as amount} if amount.is_finite():
            if state.lines and amount == state.total:
                return Paid(state.total)
            reason = "wrong_amount" if state.lines else "nothing_to_pay"
            return Rejected(reason, {"due": state.total, "offered": amount})
        case "ship", nothing if not nothing:
            return Shipped()
        case "cancel", nothing if not nothing:
            return Cancelled(refund=state.total if state.status is Status.PAID else Decimal("0.00"))
    return Rejected("invalid_command", f"expected {_EXPECTED}, not {command[2:4]}")


def apply_event(payload: Event, state: Order) -> Order:
    if isinstance(payload, LineAdded):
        total = state.total + payload.quantity * payload.price
        return replace(state, lines=(*state.lines, payload), total=total)
    return replace(state, status=Status(type(payload).__name__.lower()))
