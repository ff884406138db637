"""The table of backends, as the README has it."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.bench.figure import Figure, a_second, digits


def markdown_of(figures: Sequence[Figure]) -> str:
    """Return a row for each backend, in Markdown; empty without such figures."""
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
