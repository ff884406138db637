"""Copy a whole store into another, and verify it: `scripts/copy_store.py SOURCE_URL TARGET_URL`.

An interrupted copy goes on where it was when the same line is run again. Exits with 0 when both
stores say the same, 1 when the copy was refused or failed, 2 when the command line is wrong, and
130 when it was interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from importlib import import_module
from typing import Any, TextIO

from eskernel.codec import declared_types
from eskernel.errors import EskernelError
from eskernel_stores import CopyReport, copy_store, open_store

WIDTH = 32
"""Characters of the bar."""


class Bar:
    """A progress bar on a terminal; elsewhere a line for each stage.

    Args:
        screen: where to.
    """

    def __init__(self, screen: TextIO) -> None:
        self._screen = screen
        self._redrawn = screen.isatty() and os.environ.get("TERM") != "dumb"
        self._shown = ""

    def __call__(self, stage: str, fraction: float) -> None:
        """Show a stage and how much of everything is done, 0 to 1."""
        percent = int(fraction * 100)
        filled = int(fraction * WIDTH)
        bar = f"[{'#' * filled:.<{WIDTH}}] {percent:3} % {stage:<24}"
        shown = bar if self._redrawn else stage
        if shown != self._shown:
            self._shown = shown
            self._screen.write(f"\r{bar}" if self._redrawn else f"{percent:3} % {stage}\n")
            self._screen.flush()

    def end(self) -> None:
        """Leave the bar's line."""
        if self._redrawn and self._shown:
            self._shown = ""
            self._screen.write("\n")


class WrongCommandLine(Exception):
    """What was asked for cannot be understood; the message says why."""


def main(argv: Sequence[str]) -> int:
    """Copy; return the exit status."""
    options = parser().parse_args(argv)
    bar = Bar(sys.stderr)
    try:
        types = types_of(options.domain, options.types)
        report = copy(options, types, bar)
    except KeyboardInterrupt:
        return failed(bar, "interrupted; run it again to continue", 130)
    except WrongCommandLine as error:
        return failed(bar, str(error), 2)
    except (EskernelError, OSError, ValueError) as error:
        kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
        return failed(bar, f"{kind}{error}", 1)
    bar.end()
    show(report)
    return 0


def copy(options: argparse.Namespace, types: tuple[type, ...], bar: Bar) -> CopyReport:
    """Open both stores and copy the one into the other."""
    if options.source == options.target:
        raise WrongCommandLine("source and target are one store; name another to copy into")
    with (
        closing(opened(options.source, types)) as source,
        closing(opened(options.target, types)) as target,
    ):
        return copy_store(source, target, progress=bar, batch=options.batch)


def opened(url: str, types: tuple[type, ...]) -> Any:
    """Return the store a URL names."""
    try:
        return open_store(url, types=types)
    except (ImportError, ValueError) as error:
        raise WrongCommandLine(str(error)) from error


def types_of(domains: Sequence[str], classes: Sequence[str]) -> tuple[type, ...]:
    """Return the types that domain modules declare, and those named `module:Class`."""
    sys.path.insert(0, os.getcwd())  # as `python -m` does: the user's modules are there
    found: list[type] = []
    for name in domains:
        found += declared_types(module_of(name))
    for name in classes:
        module, _, attribute = name.partition(":")
        value = getattr(module_of(module), attribute, None)
        if not isinstance(value, type):
            raise WrongCommandLine(f"--types {name}: names no class; write module:Class")
        found.append(value)
    return tuple(dict.fromkeys(found))


def module_of(name: str) -> Any:
    """Import a module by its name."""
    try:
        return import_module(name)
    except (ImportError, ValueError, TypeError) as error:
        raise WrongCommandLine(f"cannot import {name!r}: {error}") from error


def show(report: CopyReport) -> None:
    print(
        f"{report.events} events in {report.streams} streams: {report.copied} copied, "
        f"{report.already_there} already there; verified in {report.seconds:.1f} seconds"
    )
    print(f"digest of either store: {report.digest}")
    print(report.left_out)
    if not report.events:
        print("The source is empty. Is its URL the right one?")


def failed(bar: Bar, what: str, status: int) -> int:
    """Say what went wrong; return the exit status."""
    bar.end()
    print(f"FAILED: {what}", file=sys.stderr)
    return status


def batch_of(text: str) -> int:
    """Return a number of events of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text!r}")
    return int(text)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/copy_store.py",
        description="Copy a whole store into another, and verify that both say the same.",
        epilog="Run it again to continue an interrupted copy, or to copy what was appended since.",
    )
    parser.add_argument("source", metavar="SOURCE_URL", help="for example sqlite:///bank.db")
    parser.add_argument("target", metavar="TARGET_URL", help="empty, or a copy to continue")
    parser.add_argument(
        *("--domain", "-d"),
        action="append",
        default=[],
        metavar="MODULE",
        help="a domain whose dataclasses and Enums are stored; repeat it for others",
    )
    parser.add_argument(
        *("--types", "-t"),
        action="append",
        default=[],
        metavar="MODULE:CLASS",
        help="a single dataclass or Enum that is stored; repeat it for others",
    )
    parser.add_argument(
        *("--batch", "-b"),
        type=batch_of,
        default=1000,
        metavar="N",
        help="events in one durable write, 1000 unless you say otherwise",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
