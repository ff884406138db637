"""Arguments: what a feed is given, checked, with errors that say what to give instead."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from eskernel.contracts import EventStore
from eskernel.contracts.plugging import check_event_store
from eskernel.errors import InvalidCommand
from eskernel.values import check_identifier

_LONGEST_NAME: Final = 200


def checked_store(store: Any) -> EventStore:
    """Return the store; TypeError if it is none."""
    check_event_store(store)
    checked: EventStore = store
    return checked


def checked_names(name: str, given: Any) -> frozenset[str] | None:
    """Return names of types, taken once from whatever holds them; TypeError if they are none."""
    if given is None:
        return None
    if isinstance(given, str | bytes):
        raise TypeError(f"{name} must be a set of strings; write {{{given!r}}}, not {given!r}")
    if not isinstance(given, Iterable):
        raise TypeError(f"{name} must be a set of strings or None, not {given!r}")
    names = [*given]
    for one in names:
        if not isinstance(one, str):
            raise TypeError(f"{name} must hold strings only, not {one!r}")
    return frozenset(names)


def checked_name(given: Any) -> str:
    """Return a subscription's name, 1 to 200 characters as those of an aggregate id.

    Raises:
        TypeError: it is no string.
        ValueError: it is too short, too long, or holds what no store can keep.
    """
    if not isinstance(given, str):
        raise TypeError(f"name must be a string such as 'mailer', not {given!r}")
    if len(given) > _LONGEST_NAME:
        raise ValueError(f"name must have 1 to {_LONGEST_NAME} characters, not {len(given)}")
    try:
        return check_identifier("name", given)
    except InvalidCommand as error:
        raise ValueError(str(error)) from None


def checked_number(name: str, given: Any, least: int) -> int:
    """Return a whole number.

    Raises:
        TypeError: it is none.
        ValueError: it is less than `least`.
    """
    if not isinstance(given, int) or isinstance(given, bool):
        raise TypeError(f"{name} must be a whole number, not {given!r}")
    if given < least:
        raise ValueError(f"{name} must be at least {least}, not {given}")
    return given


def checked_seconds(name: str, given: Any) -> float:
    """Return a time in seconds, 0 or more.

    Raises:
        TypeError: it is no number.
        ValueError: it is negative, or NaN.
    """
    if not isinstance(given, int | float) or isinstance(given, bool):
        raise TypeError(f"{name} must be a number of seconds, not {given!r}")
    if not given >= 0:
        raise ValueError(f"{name} must be at least 0 seconds, not {given}")
    return float(given)


def checked_interval(name: str, given: Any) -> float:
    """Return a time in seconds, more than 0; raises as `checked_seconds`."""
    seconds = checked_seconds(name, given)
    if not seconds:
        raise ValueError(f"{name} must be more than 0 seconds, for example 0.1")
    return seconds


def checked_wait(given: Any) -> Callable[[float], object]:
    """Return a function that waits; TypeError if it is none."""
    if not callable(given):
        raise TypeError(f"wait must be a function of a number of seconds, not {given!r}")
    checked: Callable[[float], object] = given
    return checked
