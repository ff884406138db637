"""Journal: what the kernel logs, through structlog; logging never fails who logs.

The host application configures structlog, or does not. A processor of its that raises, or a value
whose `repr` does, costs the entry and nothing else.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import structlog

log = structlog.get_logger("eskernel")


def log_safely(level: str, event: str, **facts: Any) -> None:
    """Log on any thread; an interruption of the thread is the one thing that comes through.

    Args:
        level: a method of structlog's logger, for example "warning".
        event: what happened, in snake case.
        facts: what it happened to; exceptions are shown by their `repr`, or under `exc_info`.
    """
    with suppress(Exception):
        getattr(log, level)(event, **_shown(facts))


def log_and_go_on(level: str, event: str, **facts: Any) -> None:
    """Log on a thread of the kernel's that must go on, whatever logging raises."""
    with suppress(BaseException):
        getattr(log, level)(event, **_shown(facts))


def _shown(facts: dict[str, Any]) -> dict[str, Any]:
    return {
        name: repr(fact) if isinstance(fact, BaseException) and name != "exc_info" else fact
        for name, fact in facts.items()
    }
