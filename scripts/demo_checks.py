"""What the demo's steps share: each shows what it finds, if it is what it should be."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from demo_screen import fact, show_command

from eskernel import Accepted, Command, Kernel

PATIENCE = 10.0
"""Seconds to wait for what happens on other threads."""


class NotAsItShould(Exception):
    """A step gave something else than it should."""


def dispatch(kernel: Kernel, command: Command, wait_for: tuple[str, ...] = ()) -> Accepted:
    """Show a command and have it decided, and seen by some projections."""
    show_command(command, wait_for)
    return kernel.dispatch(command, wait_for=wait_for)


def expect_error(kind: Any, kernel: Kernel, command: Command) -> Any:
    """Show a command and return the error it must raise."""
    try:
        done = dispatch(kernel, command)
    except kind as error:
        check("the caller gets", type(error).__name__, kind.__name__)
        return error
    raise NotAsItShould(f"the caller gets: {done}, but it should be {kind.__name__}")


def check(what: str, found: object, wanted: object) -> None:
    """Show a fact if it is the wanted one, else end the demo."""
    if found != wanted:
        raise NotAsItShould(f"{what}: {found!r}, but it should be {wanted!r}")
    fact(what, found)


def wait_until(what: str, holds: Callable[[], Any], patience: float | None = None) -> None:
    """Wait for something that happens elsewhere, at most PATIENCE or so many seconds."""
    patience = PATIENCE if patience is None else patience
    deadline = time.monotonic() + patience
    while not holds():
        if time.monotonic() > deadline:
            raise NotAsItShould(f"{what}: not within {patience:g} seconds")
        time.sleep(0.01)
