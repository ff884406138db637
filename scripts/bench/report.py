"""The report: a table for people, JSON for machines."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from scripts.bench.figure import RATIO, Figure

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
