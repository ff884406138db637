"""The command line of the bench."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from time import perf_counter

from rich.console import Console

from scripts.bench.apart import ROOT, MeasureFailed, run_apart
from scripts.bench.figure import Figure
from scripts.bench.markdown import markdown_of
from scripts.bench.measures import MEASURES
from scripts.bench.report import table_of, write_json

_QUICK = 0.1
_WIDTH = 140


def main(argv: Sequence[str]) -> int:
    """Measure, print, write bench.json.

    Returns:
        The exit status: 0 when every target is met, 1 when one is not or a measure failed.
    """
    options = _parser().parse_args(argv)
    scale = _QUICK if options.quick else 1.0
    console = _console()
    start = perf_counter()
    figures: list[Figure] = []
    failed: list[str] = []
    for name in options.only or MEASURES:
        found = _measure(name, scale, console)
        figures += found
        if not found:
            failed.append(name)
    seconds = perf_counter() - start
    write_json(ROOT / "bench.json", figures, scale, seconds)
    console.print(table_of(figures))
    console.print(markdown_of(figures), markup=False, soft_wrap=True)
    console.print(f"{seconds:.0f} seconds; the figures are in bench.json")
    missed = [figure.measure for figure in figures if figure.met is False]
    for name in failed:
        console.print(f"[bold red]{name} failed[/]")
    return 1 if missed or failed else 0


def _measure(name: str, scale: float, console: Console) -> list[Figure]:
    """Run one measure and tell about it; no figures if it failed."""
    start = perf_counter()
    with console.status(name) as status:
        try:
            figures = run_apart(name, scale, lambda word: status.update(f"{name}: {word}"))
        except MeasureFailed as error:
            console.print(f"[bold red]{error}[/]")
            return []
    console.print(f"[bold]{name}[/] [dim]{perf_counter() - start:.1f} s[/]")
    for figure in figures:
        console.print(f"    {figure.measure}: {figure.shown}")
    return figures


def _console() -> Console:
    """Return the terminal; what is no terminal gets lines long enough for the table."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDTH)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="Measure eskernel; exit with 1 if a target is missed."
    )
    parser.add_argument(
        "--only", action="append", choices=MEASURES, metavar="NAME", help=", ".join(MEASURES)
    )
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of the work, for rough figures"
    )
    return parser
