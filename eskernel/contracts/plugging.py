"""Plugging: whether what a kernel is given is what it wants, said before anything starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from eskernel.contracts.middleware import Middleware

_STORE = ("append", "fold", "fold_all", "last_position", "close")
_SNAPSHOTS = ("store", "load_latest")
_CLOCK = ("time", "monotonic")


def check_domains(domains: Any) -> None:
    """Raise TypeError unless this maps names to domains."""
    if not isinstance(domains, Mapping):
        raise TypeError(
            'domains must be a mapping such as {"bank_account": bank_account}, '
            f"not {type(domains).__name__}"
        )


def check_event_store(store: Any) -> None:
    """Raise TypeError unless this is an event store."""
    advice = f"; did you mean open_store({store!r})?" if isinstance(store, str) else ""
    _check("event_store", store, _STORE, advice)


def check_plugins(snapshot_store: Any, clock: Any) -> None:
    """Raise TypeError unless these are a snapshot store or None, and a clock."""
    if snapshot_store is not None:
        _check("snapshot_store", snapshot_store, _SNAPSHOTS)
    _check("clock", clock, _CLOCK)


def checked_middleware(middleware: Any) -> tuple[Middleware, ...]:
    """Return the functions, taken once from whatever holds them; TypeError if they are none."""
    if not isinstance(middleware, Iterable):
        raise TypeError(f"middleware must be a list of functions, not {middleware!r}")
    functions = tuple(middleware)
    for one in functions:
        if not callable(one):
            raise TypeError(f"middleware must be functions, not {one!r}")
    return functions


def _check(name: str, given: Any, methods: tuple[str, ...], advice: str = "") -> None:
    if isinstance(given, type):
        raise TypeError(f"{name} must not be a class; make one: {given.__name__}()")
    missing = [method for method in methods if not callable(getattr(given, method, None))]
    if missing:
        raise TypeError(f"{name} {given!r} has no {', '.join(missing)}{advice}")
