"""Limits: the numbers a kernel is given, checked."""

from __future__ import annotations

from dataclasses import dataclass

MAX_CONFLICTS = 10
"""How often a command is decided again because somebody else had written first."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The kernel's numbers; see `eskernel.Kernel` for their meaning and units."""

    snapshot_interval: int
    snapshots_kept: int
    inbox_limit: int
    receipts_kept: int
    max_live_aggregates: int | None
    passivation_timeout: float
    dispatch_timeout: float

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            number = getattr(self, name)
            if number is None and name == "max_live_aggregates":
                continue
            if isinstance(least, float):
                check_seconds(name, number)
            else:
                check_count(name, number, least)


def check_count(name: str, number: object, least: int) -> None:
    """Raise ValueError, with the name in its message, unless this is a number of at least that."""
    if type(number) is not int or number < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, not {number!r}")


def check_seconds(name: str, seconds: object) -> None:
    """Raise ValueError, with the name in its message, unless these are seconds to wait."""
    kind = type(seconds)
    if kind not in (int, float) or not seconds >= 0.0:  # type: ignore[operator]
        raise ValueError(f"{name} must be a number of seconds of at least 0.0, not {seconds!r}")


_LEAST = {
    "snapshot_interval": 0,
    "snapshots_kept": 1,
    "inbox_limit": 1,
    "receipts_kept": 0,
    "max_live_aggregates": 1,
    "passivation_timeout": 0.0,
    "dispatch_timeout": 0.0,
}
