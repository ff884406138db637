"""Projection: a projection's module and how it is to be run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from eskernel.contracts import CheckpointStore


@dataclass(frozen=True, slots=True)
class Projection:
    """A module, and what is not said in it; `Kernel(projections={"name": module})` takes either.

    Args:
        module: a plain module; see `eskernel.projections.Definition`.
        store: where state and checkpoint are kept, or the tables; None for the kernel's
            `checkpoint_store`, or without one its event store.
        on_failure: what happens to an event that still fails after all retries: `"stop"` stops the
            projection in front of it, `"park"` puts it aside and goes on.
        retries: how often a failing event is tried again.
        first_retry: seconds before the first of these; the delay doubles from one to the next.
        longest_retry: seconds it does not exceed.
        parked_limit: events that may be parked; with one more the projection stops.
        checkpoint_events: events handled before state and position are stored again. Of tables
            and callbacks each page is stored.
        checkpoint_seconds: seconds that handled events wait for that at most, while it takes
            no more than a tenth of the time.
        lease_seconds: how long another process waits before it takes over from one that is gone.
        poll_interval: seconds between two looks at the log, if no hint shortens them.

    Raises:
        ValueError: one of them is out of its range.
    """

    module: Any
    store: CheckpointStore | None = None
    on_failure: Literal["stop", "park"] = "stop"
    retries: int = 5
    first_retry: float = 0.05
    longest_retry: float = 5.0
    parked_limit: int = 1000
    checkpoint_events: int = 10_000
    checkpoint_seconds: float = 1.0
    lease_seconds: float = 5.0
    poll_interval: float = 0.1

    def __post_init__(self) -> None:
        if self.on_failure not in ("stop", "park"):
            raise ValueError(f"on_failure must be 'stop' or 'park', not {self.on_failure!r}")
        for name, least in (("retries", 0), ("parked_limit", 0), ("checkpoint_events", 1)):
            number = getattr(self, name)
            if type(number) is not int or number < least:
                raise ValueError(
                    f"{name} must be a whole number of at least {least}, not {number!r}"
                )
        for name in _SECONDS:
            seconds = getattr(self, name)
            if type(seconds) not in (int, float) or not 0 < seconds < float("inf"):
                raise ValueError(f"{name} must be a number of seconds above 0, not {seconds!r}")


_SECONDS = (
    *("first_retry", "longest_retry", "checkpoint_seconds"),
    *("lease_seconds", "poll_interval"),
)
