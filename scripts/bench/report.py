"""The report: tables for people, JSON for machines."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from scripts.bench.figure import RATIO, Figure, a_second, digits

_MET = {True: "[green]yes[/]", False: "[bold red]no[/]", None: ""}


def table_of(figures: Sequence[Figure]) -> Table:
    """Return the table: what has a target first, then what only informs."""
    table = Table(title="eskernel bench", title_justify="left")
    for name in ("measure", "figure", "target", "ratio", "met?"):
        table.add_column(name, justify="left" if name in ("measure", "figure") else "right")
    gates = [figure for figure in figures if figure.met is not None]
    others = [figure for figure in figures if figure.met is None]
    for figure in gates + others:
        ratio = f"{figure.value:.3g}" if figure.unit == RATIO else ""
        last_gate = figure is gates[-1] if gates else False
        row = (figure.measure, figure.shown, figure.target, ratio, _MET[figure.met])
        table.add_row(*row, end_section=last_gate)
    return table


def markdown_of(figures: Sequence[Figure]) -> str:
    """Return the table of backends, as Markdown for the README; empty without such figures."""
    rows: dict[str, dict[str, str]] = {}
    for figure in figures:
        if figure.cell:
            row, column = figure.cell
            rows.setdefault(row, {})[column] = _rate(figure)
    columns = [*dict.fromkeys(column for row in rows.values() for column in row)]
    lines = [["store", *columns], ["---"] * (1 + len(columns))] if rows else []
    lines += [[name, *(row.get(column, "") for column in columns)] for name, row in rows.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _rate(figure: Figure) -> str:
    """Return a rate, with the quantiles of what each took, or with how many there were."""
    text, details = a_second(figure.value), figure.details
    if "p50" in details:
        text += f"; {digits(details['p50'], 2)}, {digits(details['p99'], 2)} ms"
    return f"{text} of {details['events']:,}" if "events" in details else text


def write_json(path: Path, figures: Sequence[Figure], scale: float, seconds: float) -> None:
    """Write the figures, and what they were measured on."""
    content: dict[str, Any] = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "scale": scale,
        "seconds": round(seconds, 1),
        "figures": [{**asdict(figure), "met": figure.met} for figure in figures],
    }
    path.write_text(json.dumps(content, indent=2) + "\n")
