"""Purity: a domain's functions called so that breaking their contract shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import fields, is_dataclass
from datetime import datetime, time
from decimal import Decimal
from typing import Any

from eskernel.actors.aggregate.bound_domain import BoundDomain
from eskernel.errors import InvalidDomain, NotStorable
from eskernel.values import Command, Rejected


class BrokenContract(AssertionError):
    """The domain breaks a rule that every domain must keep, whatever the test expects."""


def decide(domain: BoundDomain, command: Command, state: Any) -> tuple[Any, ...] | Rejected:
    """Return the payloads that handle_command decides on, or its rejection.

    Raises:
        BrokenContract: handle_command is not pure.
    """

    def arguments() -> Mapping[str, Any]:
        metadata = dict(command.metadata)
        return {"command payload": command.payload, "command metadata": metadata, "state": state}

    decision = call_twice(
        "handle_command", lambda: domain.handle_command(command, state), arguments
    )
    if decision is None or isinstance(decision, Rejected):
        return decision or ()
    return tuple(decision) if type(decision) in (list, tuple) else (decision,)


def evolve(domain: BoundDomain, event: Any, state: Any) -> Any:
    """Return the state after an event, applied as it comes back from a store.

    Raises:
        BrokenContract: a function is not pure, or something cannot be stored exactly.
    """
    payload = stored(domain, event, "event payload")
    try:
        call_twice("event_type", lambda: domain.name_event(payload), lambda: {"payload": payload})
    except InvalidDomain as error:
        if domain.event_type is None:
            raise
        raise BrokenContract(str(error)) from error
    new_state = call_twice(
        "apply_event",
        lambda: domain.apply_event(payload, state),
        lambda: {"event payload": payload, "state": state},
    )
    stored(domain, new_state, "state")
    return new_state


def call_twice(
    name: str, call: Callable[[], Any], arguments: Callable[[], Mapping[str, Any]]
) -> Any:
    """Return what `call` returns, if it leaves its arguments alone and repeats itself.

    Args:
        name: what is called.
        call: calls it.
        arguments: returns its arguments, as they are now, by their names.

    Raises:
        BrokenContract: it does not.
    """
    before = {key: (repr(value), _exactly(value)) for key, value in arguments().items()}
    result = call()
    for argument, value in arguments().items():
        if before[argument][1] != _exactly(value):
            raise BrokenContract(
                f"{name} changed its {argument}; return a new value instead\n"
                f"  before: {before[argument][0]}\n"
                f"  after:  {value!r}"
            )
    again = call()
    if _exactly(result) != _exactly(again):
        raise BrokenContract(
            f"{name} is not pure: called twice with the same arguments, it returned\n"
            f"  first: {result!r}\n"
            f"  then:  {again!r}"
        )
    return result


def stored(domain: BoundDomain, value: Any, name: str) -> Any:
    """Return `value` as it comes back from a store.

    Raises:
        BrokenContract: it cannot be stored, or comes back as something else.
    """
    try:
        back = domain.unpack(domain.pack(value, name))
    except NotStorable as error:
        raise BrokenContract(f"cannot be stored: {error}") from error
    if _exactly(value) != _exactly(back):
        raise BrokenContract(f"{name} is not stored exactly\n  given: {value!r}\n  back:  {back!r}")
    return back


def _exactly(value: Any) -> tuple[Any, ...]:
    """Return a copy that equals only those of values alike to types, key order and digits."""
    parts: Any
    if isinstance(value, dict):
        parts = tuple((_exactly(key), _exactly(item)) for key, item in value.items())
    elif isinstance(value, list | tuple):
        parts = tuple(map(_exactly, value))
    elif isinstance(value, set | frozenset):
        parts = frozenset(map(_exactly, value))
    elif is_dataclass(value):
        parts = tuple(_exactly(getattr(value, field.name)) for field in fields(value))
    elif isinstance(value, float | Decimal | datetime | time):
        parts = repr(value)  # tells 0.0 from -0.0, 1.5 from 1.50, and a moment in two time zones
    else:
        copy = deepcopy(value)
        parts = copy if copy == value else None  # None where only identity is equality
    return type(value), parts
