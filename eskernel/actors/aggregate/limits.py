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
            kinds = int if isinstance(least, int) else int | float
            if isinstance(number, bool) or not isinstance(number, kinds) or not number >= least:
                what = "a whole number" if isinstance(least, int) else "a number of seconds"
                raise ValueError(f"{name} must be {what} of at least {least}, not {number!r}")


_LEAST = {
    "snapshot_interval": 0,
    "snapshots_kept": 1,
    "inbox_limit": 1,
    "receipts_kept": 0,
    "max_live_aggregates": 1,
    "passivation_timeout": 0.0,
    "dispatch_timeout": 0.0,
}
