"""Domain: the plain module of pure functions a user writes."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

from eskernel.values import Command, Rejected

Decision: TypeAlias = Any | list[Any] | tuple[Any, ...] | Rejected | None


class Domain(Protocol):
    """Decide and evolve (the Decider pattern), as three functions of a module.

    They must be pure: no clock, no I/O, no change to an argument. Optional beside them:

    - `event_type(payload) -> str`: the event's type; without it, a dict payload's `"type"` or a
      dataclass payload's class name.
    - `version`: a string or number to change whenever old snapshots no longer fit; without it, a
      hash of the module's source.
    - `types`: dataclasses and Enums that payloads or state use beside those the module defines.
    """

    def init(self) -> Any:
        """Return the state of an aggregate without events."""
        ...

    def handle_command(self, command: Command, state: Any) -> Decision:
        """Decide.

        Returns:
            One event payload, a list or tuple of them, None for nothing to do, or `Rejected`.
        """
        ...

    def apply_event(self, payload: Any, state: Any) -> Any:
        """Return the state after the event; must accept every event ever stored."""
        ...
