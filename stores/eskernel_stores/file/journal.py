"""Journal: what the store logs, through structlog; logging never fails who logs."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import structlog

_log = structlog.get_logger("eskernel_stores.file")


def warn(event: str, **facts: Any) -> None:
    """Log a warning, if the host application's logging lets us.

    Args:
        event: what happened, in snake case.
        facts: what it happened to.
    """
    with suppress(Exception):  # the host's processors are not the store's concern
        _log.warning(event, **facts)
