"""What the demo prints, in colour on a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from io import TextIOWrapper
from typing import TextIO

from eskernel import Command

BOLD, DIM, RED, GREEN, CYAN = "1", "2", "31", "32", "36"
WIDTH = 40
"""Characters of a bar."""


def print_anywhere() -> None:
    """Have a screen that knows no ✓ or │ show something else instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def title(text: str) -> None:
    print(f"\n{paint(text, BOLD)}")


def heading(text: str) -> None:
    print(f"\n{paint('●', CYAN)}  {paint(text, BOLD)}")


def show_command(command: Command, wait_for: tuple[str, ...] = ()) -> None:
    words = [command.type, "" if command.payload is None else str(command.payload)]
    words.append("" if command.command_id is None else f"command_id={command.command_id!r}")
    words.append(f"wait_for={wait_for!r}" if wait_for else "")
    to = "/".join(command.stream_id)
    print(f"   {paint('→', CYAN)} {to}: {' '.join(filter(None, words))}")


def block(text: str) -> None:
    for line in text.splitlines():
        print(f"   {paint(line, DIM)}")


def fact(what: str, value: object) -> None:
    print(f"   {paint('✓', GREEN)} {what}: {paint(plain(value), BOLD)}")


def progress(shares: Iterable[float]) -> Iterator[float]:
    """Draw a bar while somebody iterates: in place on a terminal, elsewhere a line each quarter.

    Args:
        shares: how much is done, 0 to 1, rising.

    Returns:
        The shares as they come.
    """
    in_place = is_terminal(sys.stdout)
    step, shown = (1 if in_place else 25), -1
    for share in shares:
        percent = int(share * 100) // step * step
        if percent > shown:
            bar = paint(f"{'█' * (percent * WIDTH // 100):{WIDTH}}", GREEN)
            begin, end = ("\r", "") if in_place else ("", "\n")
            print(f"{begin}   [{bar}] {percent:3} %", end=end, flush=True)
            shown = percent
        yield share
    if in_place:
        print()


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
    if os.environ.get("NO_COLOR") or not is_terminal(screen or sys.stdout):
        return text
    return f"\x1b[{style}m{text}\x1b[0m"


def is_terminal(screen: TextIO) -> bool:
    """Return whether a screen understands more than lines of text."""
    return screen.isatty() and os.environ.get("TERM") != "dumb"
