"""A domain for kernels in other processes, which can be told what to do by its commands alone."""

from __future__ import annotations

import enum
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from eskernel import Command, Rejected
from eskernel_stores import open_store

TYPE = "probe"
version = "1"


class Level(enum.Enum):
    LOW = 1
    HIGH = 2


@dataclass(frozen=True)
class Noted:
    value: Any
    level: Level = Level.LOW


@dataclass(frozen=True)
class Refusal:
    because: Any


class Odd(Exception):
    """An exception that cannot be told in words."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def init() -> list[Any]:
    return []


def handle_command(command: Command, state: list[Any]) -> Any:
    payload = command.payload
    match command.type:
        case "note":
            return {"type": "noted", "value": payload}
        case "note_all":
            return [Noted(value) for value in payload]
        case "refuse":
            return Rejected("refused", Refusal(payload))
        case "raise":
            raise ERRORS[payload]
        case "return_object":
            return {"type": "noted", "value": object()}
        case "wait":
            return _waited(Path(payload))
        case "exit":
            os._exit(payload)
        case "nothing":
            return None
    return Rejected("unknown", command.type)


def apply_event(payload: Any, state: list[Any]) -> list[Any]:
    return [*state, payload.value if isinstance(payload, Noted) else payload["value"]]


def _waited(path: Path) -> Any:
    """Say that it has begun, then wait for a file."""
    path.with_suffix(".begun").touch()
    deadline = time.monotonic() + 20
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody made {path}")
        time.sleep(0.002)
    return {"type": "noted", "value": path.name}


ERRORS: dict[str, BaseException] = {
    "built-in": KeyError("no such key"),
    "arithmetic": ZeroDivisionError("asked to"),
    "own": Odd(),
    "surrogate": ArithmeticError("half a \ud800"),
}

# Middleware and the like, which are named by their import paths.


marks: list[str] = []


def tagging(command: Command, call_next: Any) -> Any:
    """A middleware that tags what passes, with what was done to the process as well."""
    return call_next(command._replace(tags=(*command.tags, "passed", *marks)))


def failing(command: Command, call_next: Any) -> Any:
    """A middleware that raises what a command asks for."""
    if command.type == "fail in middleware":
        raise ERRORS[command.payload]
    return call_next(command)


class StoppedClock:
    """Stands at one time of day."""

    def time(self) -> float:
        return 1_000_000.5

    def monotonic(self) -> float:
        return time.monotonic()


stopped_clock = StoppedClock()


def be_quiet() -> None:
    """Have a process log nothing: the crashes wanted in tests have long tracebacks."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def be_quiet_here() -> None:
    """Do nothing: a worker on a thread of the tests' own process logs as the tests do."""


def initialize() -> None:
    be_quiet()
    marks.append("initialized")


def initialize_badly() -> None:
    raise OSError("no place to log to")


def initialize_fatally() -> None:
    os._exit(7)


def without_extra(url: str) -> Any:
    raise ModuleNotFoundError("the store needs an extra")


def open_own(url: str) -> Any:
    """Open a store by a URL of one's own kind."""
    return open_store(url.replace("own:", "sqlite:///", 1))


def length(state: Any) -> int:
    """A function of a module, for projections to be read with."""
    return len(state)


def where(state: Any) -> int:
    """Return the process a projection was read in."""
    return os.getpid()


def lookup(state: Any) -> Any:
    return {}["nothing"]
