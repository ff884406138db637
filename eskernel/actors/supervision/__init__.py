"""Supervised Pykka actors and the supervisor that keeps them running."""

from eskernel.actors.supervision.actor import SupervisedActor
from eskernel.actors.supervision.asking import ask
from eskernel.actors.supervision.backoff import Backoff
from eskernel.actors.supervision.inbox import Exit, Inbox, watch
from eskernel.actors.supervision.spec import ChildSpec, Restart, Strategy
from eskernel.actors.supervision.supervisor import (
    ChildInfo,
    RestartLimitExceeded,
    Supervisor,
    stop_and_wait,
)

__all__ = [
    "Backoff",
    "ChildInfo",
    "ChildSpec",
    "Exit",
    "Inbox",
    "Restart",
    "RestartLimitExceeded",
    "Strategy",
    "SupervisedActor",
    "Supervisor",
    "ask",
    "stop_and_wait",
    "watch",
]
