"""A domain for worker processes: it notes numbers, and can wait, refuse or end its process."""

from __future__ import annotations

import gc
import os
import time
from pathlib import Path
from typing import Any

from eskernel import Command, Rejected
from eskernel.actors.runtime import Runtime

version = "1"


def init() -> dict[str, int]:
    return {"count": 0, "total": 0}


def handle_command(command: Command, state: Any) -> Any:
    kind, payload = command.type, command.payload
    if kind == "refuse":
        return Rejected("refused", payload)
    if kind == "exit":
        with Path(payload).open("a") as file:
            file.write("x")
        os._exit(7)
    if kind == "give up":
        _give_up()
    if kind == "print":
        print(payload, flush=True)  # noqa: T201 - as domains do that are being debugged
    if kind == "wait":
        _wait(Path(payload))
    if kind == "where":
        return {"type": "noted", "by": os.getcwd(), "n": os.getpid()}
    by, n = payload if kind == "note" else (kind, 0)
    return {"type": "noted", "by": by, "n": n}


def apply_event(payload: Any, state: Any) -> Any:
    return {"count": state["count"] + 1, "total": state["total"] + payload["n"]}


def _give_up() -> None:
    """Have this process's kernel do as if its root had ended too often."""
    (runtime,) = (one for one in gc.get_objects() if type(one) is Runtime)
    runtime.services.refuse("it gave up")


def _wait(path: Path) -> None:
    """Say that it has begun, and return when somebody says to go on."""
    path.with_suffix(".begun").touch()
    while not path.exists():
        time.sleep(0.005)
