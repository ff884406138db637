"""What the demo prints, in colour on a terminal."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
from typing import TextIO

from eskernel import Command

BOLD, DIM, RED, GREEN, CYAN = "1", "2", "31", "32", "36"


def print_anywhere() -> None:
    """Have a screen that knows no ✓ or │ show something else instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def title(text: str) -> None:
    print(f"\n{paint(text, BOLD)}")


def heading(text: str) -> None:
    print(f"\n{paint('●', CYAN)}  {paint(text, BOLD)}")


def show_command(command: Command) -> None:
    words = [command.type, "" if command.payload is None else str(command.payload)]
    words.append("" if command.command_id is None else f"command_id={command.command_id!r}")
    to = "/".join(command.stream_id)
    print(f"   {paint('→', CYAN)} {to}: {' '.join(filter(None, words))}")


def block(text: str) -> None:
    for line in text.splitlines():
        print(f"   {paint(line, DIM)}")


def fact(what: str, value: object) -> None:
    print(f"   {paint('✓', GREEN)} {what}: {paint(plain(value), BOLD)}")


def failed(what: str, log: list[str]) -> None:
    """Say on stderr what is not as it should be, and what the kernel logged."""
    sys.stdout.flush()
    say_failed = f"\n{paint('FAILED', RED, sys.stderr)}: {what}"
    print(say_failed, *log, sep="\n", file=sys.stderr)


def plain(value: object) -> str:
    """Return a value as a person would write it."""
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def paint(text: str, style: str, screen: TextIO | None = None) -> str:
    """Return the text in colour if it goes to a terminal; see https://no-color.org."""
    plainly = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    if plainly or not (screen or sys.stdout).isatty():
        return text
    return f"\x1b[{style}m{text}\x1b[0m"
