"""A domain with a bug, for the demo."""

from __future__ import annotations

from typing import Any

from eskernel import Command


class SlotMachine:
    """Whoever kicks the machine meets an exception.

    A domain is usually a module; any object with these three functions will do.
    """

    @staticmethod
    def init() -> int:
        """Return the games played on a new machine."""
        return 0

    @staticmethod
    def handle_command(command: Command, _games: int) -> dict[str, Any]:
        """Let it play; anything else it cannot stand."""
        if command.type == "play":
            return {"type": "played"}
        raise RuntimeError("the reels are stuck")

    @staticmethod
    def apply_event(_payload: dict[str, Any], games: int) -> int:
        """Count the game."""
        return games + 1
