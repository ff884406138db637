"""A projection for kernels in other processes: what was noted, and failures on demand.

The value `"fail if FILE"` fails as long as there is such a file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from remote_domain import TYPE, Level, Noted

from eskernel import Event

version = 1
aggregate_types = {TYPE}
types = (Noted, Level)


def init() -> dict[str, Any]:
    return {"count": 0, "last": None}


def handle_event(event: Event, state: dict[str, Any]) -> dict[str, Any]:
    payload = event.payload
    value = payload.value if isinstance(payload, Noted) else payload["value"]
    if isinstance(value, str) and value.startswith("fail if ") and Path(value[8:]).exists():
        raise ZeroDivisionError(value)
    return {"count": state["count"] + 1, "last": payload if isinstance(payload, Noted) else value}
