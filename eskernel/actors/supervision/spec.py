"""What a supervisor is told about its children."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pykka import ActorRef


class Restart(Enum):
    """Which exits of a child are answered with a restart."""

    PERMANENT = "permanent"
    """every exit"""
    TRANSIENT = "transient"
    """only an exit by failure"""
    TEMPORARY = "temporary"
    """none"""

    def wanted(self, reason: BaseException | None) -> bool:
        """Return whether an exit for this reason (None: asked to stop) calls for a restart."""
        return self is Restart.PERMANENT or (self is Restart.TRANSIENT and reason is not None)


class Strategy(Enum):
    """Which children restart along with one that must."""

    ONE_FOR_ONE = "one_for_one"
    """it alone"""
    REST_FOR_ONE = "rest_for_one"
    """it and those started after it"""
    ONE_FOR_ALL = "one_for_all"
    """all of them"""


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """One child of a supervisor.

    Attributes:
        name: unique among its siblings.
        start: starts a `SupervisedActor` and returns its reference; called again at each restart.
        restart: which exits are answered with a restart.
        shutdown: seconds it may take to end once asked to; then it is left behind.
    """

    name: str
    start: Callable[[], ActorRef[Any]]
    restart: Restart = Restart.PERMANENT
    shutdown: float = 5.0
